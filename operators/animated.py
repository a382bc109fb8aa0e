# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings that may change over time, as a worker thread may carry them. No bpy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)  # arrays have no one answer to ==
class Animated:
    """A setting that changes: values (n,) at scene frames (n,), rising; held before the first and after the last."""

    frames: np.ndarray
    values: np.ndarray


Setting = float | Animated


def at_frames(setting: Setting, frames: np.ndarray) -> float | np.ndarray:
    """A setting at scene `frames` (n,): one number when it is not animated."""
    return np.interp(frames, setting.frames, setting.values) if isinstance(setting, Animated) else setting


def later(setting: Setting, frames: float) -> Setting:
    """The same setting `frames` later."""
    return Animated(setting.frames + frames, setting.values) if isinstance(setting, Animated) else setting
