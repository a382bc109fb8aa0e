# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings that may change over time, as a worker thread may carry them. No bpy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..inference.hand_edits import Move


@dataclass(frozen=True, eq=False)  # arrays have no one answer to ==
class Animated:
    """A setting that changes: values (n,) at scene frames (n,), rising; held before the first and after the last."""

    frames: np.ndarray
    values: np.ndarray


Setting = float | Animated


def at_frames(setting: Setting, frames: np.ndarray) -> float | np.ndarray:
    """A setting at scene `frames` (n,): one number when it is not animated."""
    return np.interp(frames, setting.frames, setting.values) if isinstance(setting, Animated) else setting


@dataclass(frozen=True)
class Timing:
    """From one count of frames to another, as from the timeline's to those of an action in a strip of the NLA."""

    rate: float = 1.0
    shift: float = 0.0

    def of(self, frames: Any) -> Any:
        """What `frames` of the one are in the other."""
        return self.rate * frames + self.shift

    @property
    def back(self) -> Timing:
        """The way back."""
        return Timing(1 / self.rate, -self.shift / self.rate)

    def setting(self, setting: Setting) -> Setting:
        """A setting over the one as a setting over the other."""
        return Animated(self.of(setting.frames), setting.values) if isinstance(setting, Animated) else setting


def times(setting: Setting, factor: float) -> Setting:
    """A setting that is so many times as large."""
    return Animated(setting.frames, factor * setting.values) if isinstance(setting, Animated) else factor * setting


def shift(before: Setting, after: Setting) -> Move:
    """Where frames go when what came later by `before`, scene frames, comes later by `after`: all on one way."""

    def move(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        heard = frames - at_frames(before, frames)
        ways = np.zeros(len(frames), int)
        if not isinstance(after, Animated):
            return heard + after, ways
        at = np.maximum.accumulate(after.frames - after.values)  # what is heard there is shown at `after.frames`
        return heard + np.interp(heard, at, after.frames - at), ways

    return move
