# SPDX-License-Identifier: GPL-3.0-or-later
"""From the stored result to curves: the same road for Generate and for every turn of a slider. No bpy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ..inference import CurveSet, FaceMotion, make_curves
from ..inference.pieces import place
from ..inference.refine import Refinement, refine
from .arkit_names import Channel
from .stored_result import Facts, StoredResult


@dataclass(frozen=True)
class Animated:
    """A setting that changes: values (n,) at scene frames (n,), rising; held before the first and after the last."""

    frames: np.ndarray
    values: np.ndarray


Setting = float | Animated


@dataclass(frozen=True)
class Sliders:
    """A head's settings as a snapshot that a worker thread may carry.

    amounts: by the names of `Refinement`; offset in scene frames. mutes: first and last scene frame of each region.
    """

    amounts: Mapping[str, Setting] = field(default_factory=dict)
    mutes: tuple[tuple[float, float], ...] = ()

    def moved(self, frames: float) -> Sliders:
        """The same `frames` later: for a motion whose NLA strip was moved the other way."""
        if not frames:
            return self
        amounts = {
            name: Animated(setting.frames + frames, setting.values) if isinstance(setting, Animated) else setting
            for name, setting in self.amounts.items()
        }
        return Sliders(amounts, tuple((first + frames, last + frames) for first, last in self.mutes))


def shape(result: StoredResult, facts: Facts, sliders: Sliders) -> CurveSet:
    """The curves of `result` as the sliders want them, for the mesh's keys."""
    motion, start = (
        place(result.motion, facts.pieces, facts.fps) if facts.pieces else (result.motion, facts.start_frame)
    )
    facts = replace(facts, start_frame=start)
    shaped = refine(motion, _refinement(motion, facts, sliders))
    start = facts.start_frame + (shaped.start - motion.start) * facts.fps
    return make_curves(_for_mesh(shaped, result.channels), facts.fps, start, tolerance=facts.tolerance)


def at_frames(setting: Setting, frames: np.ndarray) -> float | np.ndarray:
    """A setting at scene `frames` (n,): one number when it is not animated."""
    return np.interp(frames, setting.frames, setting.values) if isinstance(setting, Animated) else setting


def _refinement(motion: FaceMotion, facts: Facts, sliders: Sliders) -> Refinement:
    """The sliders in the motion's own frames and seconds."""
    heard = facts.start_frame + (motion.times - motion.start) * facts.fps
    offset = at_frames(sliders.amounts.get("offset", 0.0), heard)
    shown = heard + offset
    amounts = {name: at_frames(setting, shown) for name, setting in sliders.amounts.items() if name != "offset"}
    mutes = tuple(
        (
            motion.start + (first - facts.start_frame) / facts.fps,
            motion.start + (last - facts.start_frame) / facts.fps,
        )
        for first, last in sliders.mutes
    )
    return Refinement(**amounts, offset=offset / facts.fps, mutes=mutes)


def _for_mesh(motion: FaceMotion, channels: Sequence[Channel]) -> FaceMotion:
    """`motion` over the keys of the mesh; columns of a key for both sides are averaged."""
    weights = np.stack([motion.weights[:, channel.columns].mean(axis=1) for channel in channels], axis=1)
    return replace(motion, names=tuple(channel.key for channel in channels), weights=weights)
