# SPDX-License-Identifier: GPL-3.0-or-later
"""From the stored result to curves: the same road for Generate and for every turn of a slider. No bpy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from ..inference import CurveSet, FaceMotion, make_curves
from ..inference.compact import DamagedData
from ..inference.pieces import place
from ..inference.refine import Refinement, refine
from . import life_shaping
from .animated import Setting, Timing, at_frames, times
from .life_shaping import LifeSliders
from .stored_result import Facts, StoredResult

# Extra of a stored result: what each column adds to each key (K, C), for keys that no single column moves.
MIXING = "mixing"


@dataclass(frozen=True)
class Sliders:
    """A head's settings as a snapshot that a worker thread may carry.

    amounts: by the names of `Refinement`; offset in scene frames. mutes: first and last scene frame of each region.
    """

    amounts: Mapping[str, Setting] = field(default_factory=dict)
    mutes: tuple[tuple[float, float], ...] = ()
    life: LifeSliders = field(default_factory=LifeSliders)

    def timed(self, timing: Timing) -> Sliders:
        """The same where the frames of a motion are others than the timeline's, as in a strip that was moved."""
        amounts = {name: timing.setting(setting) for name, setting in self.amounts.items()}
        if "offset" in amounts:
            amounts["offset"] = times(amounts["offset"], timing.rate)
        mutes = tuple((timing.of(first), timing.of(last)) for first, last in self.mutes)
        return Sliders(amounts, mutes, self.life.timed(timing))


def shape(result: StoredResult, facts: Facts, sliders: Sliders) -> CurveSet:
    """The curves of `result` as the sliders want them, for the mesh's keys. Raises DamagedData."""
    shaped, start = on_timeline(result.motion, facts, sliders)
    spoken = make_curves(_for_mesh(shaped, result), facts.fps, start, tolerance=facts.tolerance)
    added = life_shaping.life_curves(result, facts, sliders.life)
    return replace(spoken, names=spoken.names + added.names, keys=spoken.keys + added.keys)


def on_timeline(raw: FaceMotion, facts: Facts, sliders: Sliders) -> tuple[FaceMotion, float]:
    """`raw` where its sound is heard and as the sliders want it, and the scene frame of its first row."""
    motion, start = place(raw, facts.pieces, facts.fps) if facts.pieces else (raw, facts.start_frame)
    facts = replace(facts, start_frame=start)
    shaped = refine(motion, _refinement(motion, facts, sliders))
    return shaped, facts.start_frame + (shaped.start - motion.start) * facts.fps


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


def _for_mesh(motion: FaceMotion, result: StoredResult) -> FaceMotion:
    """`motion` over the keys of the mesh; columns of a key for both sides are averaged, those of exact keys mixed."""
    names = tuple(channel.key for channel in result.channels)
    mixing = result.extras.get(MIXING)
    if mixing is None:
        weights = [motion.weights[:, channel.columns].mean(axis=1) for channel in result.channels]
        return replace(motion, names=names, weights=np.stack(weights, axis=1))
    if mixing.shape != (len(motion.names), len(names)) or not np.isfinite(mixing).all():
        raise DamagedData("The stored speech analysis is damaged; generate the lip sync again.")
    weights = (motion.weights.astype(np.float64) @ mixing).astype(np.float32)
    return replace(motion, names=names, weights=weights, kind="vertices")
