# SPDX-License-Identifier: GPL-3.0-or-later
"""What others make of the same clips, measured in the same run: loudness, a linear regression, and Rhubarb.

Rhubarb Lip Sync (D. Wolf) is what many artists use today; it is run when its program is given (`--rhubarb`). For
programs that cannot be run here the README beside the clips has figures by group, on a larger set.
"""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

import numpy as np
import soundfile
import torch

from ..config import SAMPLE_RATE
from ..features import STEP, LogMel
from .clips import Curves, EvalClip, EvalSet

BANDS = 24
CONTEXT = 0.2  # seconds heard before and after a frame
PENALTY = 100.0  # of the ridge: the clips are short
_TIMEOUT = 600  # seconds for one clip
_SMOOTHING = 0.06  # seconds: Rhubarb's shapes jump; the deviation of the Gaussian that the scorer's README uses


def regression_features(samples: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Log-mel energies around each of `times` (s): (T, bands · steps), steps 40 ms apart over CONTEXT either way."""
    with torch.no_grad():
        sound = torch.from_numpy(samples[: len(samples) // STEP * STEP])[None]
        mel = LogMel(BANDS)(sound)[0].numpy().astype(np.float64)
    offsets = np.arange(-CONTEXT, CONTEXT + 1e-9, 0.04)
    places = np.round((times[:, None] + offsets) * SAMPLE_RATE / STEP).astype(int).clip(0, len(mel) - 1)
    return mel[places].reshape(len(times), BANDS * len(offsets))


def ridge(features: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Weights (F + 1,) of a linear regression on standardised features, the last one constant."""
    design = np.column_stack([features, np.ones(len(features))])
    penalty = np.diag([PENALTY] * features.shape[1] + [0.0])
    return np.linalg.solve(design.T @ design + penalty, design.T @ wanted)


def linear_regression(clips: list[EvalClip]) -> dict[str, Curves]:
    """Lip opening of every clip by a linear regression on log-mel energies that was fitted to all the other clips.

    Of a single clip there is none: it has no others.
    """
    known = {}
    for clip in clips:
        times, opening = clip.reference["t"], clip.reference["aperture"].astype(float)
        inside = (times >= 0) & (times <= clip.speech.duration) & np.isfinite(opening)
        known[clip.name] = (regression_features(clip.speech.samples, times[inside]), opening[inside])
    found: dict[str, Curves] = {}
    for clip in clips if len(clips) > 1 else ():
        others = [known[name] for name in known if name != clip.name]
        features = np.concatenate([features for features, _ in others])
        mean, spread = features.mean(0), features.std(0) + 1e-6
        weights = ridge((features - mean) / spread, np.concatenate([opening for _, opening in others]))
        times = np.arange(0, clip.speech.duration, 0.02)
        heard = (regression_features(clip.speech.samples, times) - mean) / spread
        opening = heard @ weights[:-1] + weights[-1]
        found[clip.name] = {"t": times, "aperture": opening, "width": np.full(len(times), np.nan), "absolute": True}
    return found


def rhubarb(program: Path, clips: EvalSet, clip: EvalClip) -> Curves:
    """Lip opening of Rhubarb's mouth shapes, smoothed, as the scorer reads them.

    Raises OSError or CalledProcessError when the program does not run.
    """
    with tempfile.TemporaryDirectory() as folder:
        sound, shapes = Path(folder) / "speech.wav", Path(folder) / "shapes.tsv"
        soundfile.write(sound, clip.speech.samples, SAMPLE_RATE, subtype="PCM_16")
        command = [str(program.resolve()), "--quiet", "--threads", "1", "-f", "tsv", "-o", str(shapes), str(sound)]
        subprocess.run(command, check=True, capture_output=True, timeout=_TIMEOUT)
        curves: Curves = clips.scorer.rhubarb_curve(str(shapes), _SMOOTHING)
        return curves
