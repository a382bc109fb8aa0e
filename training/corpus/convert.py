# SPDX-License-Identifier: GPL-3.0-or-later
"""New speakers from old: analysis and resynthesis with WORLD (Morise et al. 2016), timing unchanged.

Synthetic voices speak more flatly than people (pitch deviation within a phrase 1.3-2.5 semitones, readers of
LibriSpeech 3.3), so the pitch range is widened, and the vocal tract is made shorter or longer by warping the
spectral envelope. Formant factors beyond 0.88-1.17 no longer sound like people.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyworld

from ..config import SAMPLE_RATE

_FRAME_MS = 5.0


@dataclass(frozen=True)
class Conversion:
    """Factors on pitch, pitch range and formants; ``breath`` 0..1 is added aperiodicity in the high bands."""

    pitch: float
    pitch_range: float
    formants: float
    breath: float

    @staticmethod
    def draw(rng: np.random.Generator) -> Conversion:
        """A plausible new speaker: pitch and vocal tract length go together."""
        formants = float(rng.uniform(0.88, 1.17))
        pitch = float(np.clip(formants ** rng.uniform(1, 4) * np.exp(rng.normal(0, 0.15)), 0.65, 1.8))
        return Conversion(pitch, float(rng.uniform(1.2, 2.0)), formants, float(rng.uniform(0, 0.15)))


def convert(speech: np.ndarray, how: Conversion, rng: np.random.Generator) -> np.ndarray:
    """``speech`` (N,) float32 at 16 kHz said by another vocal tract; same length, same timing."""
    x = np.ascontiguousarray(speech, dtype=np.float64)
    f0, times = pyworld.dio(x, SAMPLE_RATE, frame_period=_FRAME_MS, f0_floor=60, f0_ceil=500)
    f0 = pyworld.stonemask(x, f0, times, SAMPLE_RATE)
    envelope = pyworld.cheaptrick(x, f0, times, SAMPLE_RATE)
    aperiodicity = pyworld.d4c(x, f0, times, SAMPLE_RATE)
    voiced = f0 > 0
    if voiced.any():
        middle = np.exp(np.log(f0[voiced]).mean())
        knots = max(3, len(f0) // 40)  # a slow wander of the pitch, about 5 a second
        wander = np.interp(np.arange(len(f0)), np.linspace(0, len(f0), knots), rng.normal(0, 0.03, knots))
        moved = middle * how.pitch * (f0[voiced] / middle) ** how.pitch_range * np.exp(wander[voiced])
        f0[voiced] = np.clip(moved, 55, 550)
    bins = np.arange(envelope.shape[1])
    source = np.clip(bins / how.formants, 0, len(bins) - 1)
    low = source.astype(int)
    high = np.minimum(low + 1, len(bins) - 1)
    part = source - low
    log_envelope = np.log(envelope + 1e-16)
    envelope = np.exp(log_envelope[:, low] * (1 - part) + log_envelope[:, high] * part)
    aperiodicity = aperiodicity[:, low] * (1 - part) + aperiodicity[:, high] * part
    aperiodicity = np.clip(aperiodicity + how.breath * np.linspace(0, 1, len(bins)), 0, 1)
    y = pyworld.synthesize(
        f0, np.ascontiguousarray(envelope), np.ascontiguousarray(aperiodicity), SAMPLE_RATE, _FRAME_MS
    )
    y = np.pad(y, (0, max(0, len(x) - len(y))))[: len(x)]
    return (y * (0.7 / max(1e-6, np.abs(y).max()))).astype(np.float32)
