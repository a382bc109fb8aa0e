# SPDX-License-Identifier: GPL-3.0-or-later
"""The development clips: speech of real people, the measured motion of their lips, and the scorer beside them."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any
from zipfile import BadZipFile

import numpy as np

from inference import FaceMotion, Speech, read_speech

Curves = dict[str, Any]
"""t (s), aperture and width over the distance of the outer eye corners; what the scorer compares."""

SCORES = ("r_ap", "r_sp", "r_w", "lag", "r_lag", "amp", "ampw", "n_close", "rec", "prec")
"""The scorer's figures that are shown; `training.evaluate` says what they mean."""

_TRACKED = 8  # frames: of fewer the scorer makes no correlation


def load_scorer(folder: Path) -> ModuleType:
    """The scorer that comes with the clips, as a module. Raises FileNotFoundError when the clips are not there."""
    path = folder / "score.py"
    if not path.exists():
        raise FileNotFoundError(f"There are no evaluation clips in {folder}; give their folder with --eval.")
    spec = importlib.util.spec_from_file_location("lip_scorer", path)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(f"{path} is no Python module.")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    vars(module)["ROOT"] = str(folder)
    return module


@dataclass(frozen=True)
class EvalClip:
    """A clip: its group ("grid", "video" …), what is heard, and the speaker's lips (the scorer's reference)."""

    name: str
    group: str
    speech: Speech
    reference: Curves

    def at_speed(self, factor: float) -> Curves:
        """The reference of the same clip played `factor` times as fast."""
        return self.reference | {"t": self.reference["t"] / factor, "speech": self.reference["speech"] / factor}


@dataclass(frozen=True)
class EvalSet:
    """The clips in `folder` and the head (5023, 3), metres, on which motion is measured."""

    folder: Path
    template: np.ndarray

    @staticmethod
    def load(folder: Path, flame: Path) -> EvalSet:
        """`flame`: an npz that holds v_template, the neutral FLAME head; raises FileNotFoundError when it does not."""
        try:
            with np.load(flame, allow_pickle=False) as stored:
                return EvalSet(folder, stored["v_template"].astype(np.float64))
        except (OSError, EOFError, ValueError, TypeError, LookupError, BadZipFile) as error:
            raise FileNotFoundError(
                f"“{flame}” holds no FLAME head; give an .npz with v_template as --flame."
            ) from error

    @cached_property
    def scorer(self) -> ModuleType:
        """score.py of the folder."""
        return load_scorer(self.folder)

    @cached_property
    def clips(self) -> list[EvalClip]:
        """The clips whose lips were tracked, in the manifest's order. Raises FileNotFoundError when there is none."""
        found = [clip for clip in self._listed if clip.name not in self.untracked]
        if not found:
            raise FileNotFoundError(
                f"There is no clip whose lips were tracked in {self.folder}; give others as --eval."
            )
        return found

    @cached_property
    def untracked(self) -> list[str]:
        """Names of the clips that judge nothing, since the opening of their lips is not known."""
        known = {clip.name: np.isfinite(clip.reference["aperture"]).sum() for clip in self._listed}
        return [name for name, frames in known.items() if frames < _TRACKED]

    @cached_property
    def _listed(self) -> list[EvalClip]:
        try:
            manifest = self.scorer.load_manifest(str(self.folder))["clips"]
            return [
                EvalClip(name, about["group"], read_speech(self.folder / "audio" / f"{name}.flac"),
                         _whole(self.scorer.load_ref(name, str(self.folder))))
                for name, about in manifest.items()
            ]  # fmt: skip
        except (LookupError, TypeError, ValueError, EOFError, BadZipFile) as error:
            raise FileNotFoundError(f"The clips in {self.folder} are damaged ({error}); copy them again.") from error

    def curves(self, motion: FaceMotion) -> Curves:
        """Lip opening and width of `motion`, of a FLAME head, on the head."""
        return self.scorer.vertices_to_curves(self.template + motion.offsets(), motion.fps)

    def score(self, reference: Curves, found: Curves) -> dict[str, float]:
        """The scorer's figures: r_ap, lag (ms, positive when late), amp, closures …"""
        return self.scorer.score_curve(reference, found)

    def envelope(self, clip: EvalClip) -> Curves:
        """The loudness of the clip taken for a lip opening: the least that any model must beat."""
        times, loudness = self.scorer.envelope(clip.speech.samples)
        return {"t": times, "aperture": loudness, "width": -loudness, "absolute": False}


def _whole(reference: Curves) -> Curves:
    """Measured lips; where nobody noted when speech begins and ends, all of them are speech, as for the scorer."""
    return {"speech": reference["t"][[0, -1]], **reference}
