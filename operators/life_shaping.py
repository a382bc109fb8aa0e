# SPDX-License-Identifier: GPL-3.0-or-later
"""Blinks, brows and nods as curves, from what is stored with a bake: for Generate and for every turn of a slider.

No bpy. The speech's own loudness decides where; refinements of the lips change nothing here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from ..inference import CurveSet, FaceMotion, make_curves
from ..inference.compact import DamagedData
from ..inference.curves import Keys
from ..inference.life import BLINK_SHAPES, BROW_SHAPES, SHAPES, Life, enliven, nod_of
from ..inference.pieces import place
from ..inference.prosody import FLOOR, Prosody, prosody_of
from .animated import Setting, Timing, at_frames
from .arkit_names import Channel
from .stored_result import Facts, StoredResult

LOUDNESS = "loudness"  # extra of a stored result, uint8 (T,): half decibels above the floor
NOD_AXES = ("right", "forward", "up")
_NOD_TOLERANCE = 0.05  # radians that count as much as a whole weight when keys are left out


@dataclass(frozen=True)
class LifeSliders:
    """A head's settings for life: amounts by name, and the keys that are to move, as channels over `SHAPES`."""

    amounts: Mapping[str, Setting] = field(default_factory=dict)
    rate: float = 20.0
    seed: int = 0
    channels: tuple[Channel, ...] = ()

    @property
    def shapes(self) -> tuple[str, ...]:
        """Blendshapes that are wanted."""
        return (BLINK_SHAPES if self.wants("blinks") else ()) + (BROW_SHAPES if self.wants("brows") else ())

    def wants(self, name: str) -> bool:
        """Whether an amount is ever other than 0."""
        setting = self.amounts.get(name, 0.0)
        return bool(np.any(setting if isinstance(setting, float) else setting.values))

    def timed(self, timing: Timing) -> LifeSliders:
        """The same where frames are others, as of `Sliders`."""
        return replace(self, amounts={name: timing.setting(setting) for name, setting in self.amounts.items()})


def every_shape(life: LifeSliders) -> LifeSliders:
    """`life` on the blendshapes themselves, instead of on the keys of a head: those that are not left to the user."""
    ours = {column for channel in life.channels for column in channel.columns}
    columns = [SHAPES.index(name) for name in life.shapes]
    return replace(life, channels=tuple(Channel(SHAPES[i], (i,)) for i in columns if i in ours))


def stored_loudness(loudness: np.ndarray) -> np.ndarray:
    """`loudness` (T,) in dB as it is stored with a bake, uint8 (T,): a byte a row."""
    return np.rint(2 * (loudness - FLOOR)).clip(0, 255).astype(np.uint8)


def can_live(result: StoredResult) -> bool:
    """Whether `result` tells how loud its speech was; bakes of earlier releases don't."""
    return LOUDNESS in result.extras


def life_curves(result: StoredResult, facts: Facts, life: LifeSliders) -> CurveSet:
    """Curves of blinks and brows for the mesh's keys that the lip sync itself doesn't move. Raises DamagedData."""
    spoken = {channel.key for channel in result.channels}
    channels = [channel for channel in life.channels if channel.key not in spoken]
    shapes = set(life.shapes)
    channels = [channel for channel in channels if all(SHAPES[column] in shapes for column in channel.columns)]
    if not channels or not can_live(result):
        return CurveSet(facts.fps, (), ())
    prosody, start = _prosody(result, facts)
    count = len(prosody.jaw)
    nothing = FaceMotion(prosody.fps, 0.0, (), np.zeros((count, 0), np.float32), np.zeros((0, 0, 3), np.float32))
    lively = enliven(nothing, prosody, _life(life, prosody, facts, start))
    places = [[lively.names.index(SHAPES[column]) for column in channel.columns] for channel in channels]
    weights = np.stack([lively.weights[:, columns].mean(axis=1) for columns in places], axis=1)
    motion = replace(lively, names=tuple(channel.key for channel in channels), weights=weights)
    return make_curves(motion, facts.fps, start, tolerance=facts.tolerance)


def nod_curves(result: StoredResult, facts: Facts, life: LifeSliders) -> CurveSet | None:
    """Rotation of the head about `NOD_AXES`, radians; None when none is wanted. Raises DamagedData."""
    if not life.wants("nod") or not can_live(result):
        return None
    prosody, start = _prosody(result, facts)
    turns = nod_of(prosody, _life(life, prosody, facts, start))
    motion = FaceMotion(prosody.fps, 0.0, NOD_AXES, turns, np.zeros((3, 0, 3), np.float32), "vertices")
    return make_curves(motion, facts.fps, start, tolerance=_NOD_TOLERANCE * facts.tolerance)


def timed(curves: CurveSet, timing: Timing) -> CurveSet:
    """The same curves in other frames."""
    return replace(curves, keys=tuple(_timed(keys, timing) for keys in curves.keys))


def _timed(keys: Keys, timing: Timing) -> Keys:
    slopes = None if keys.slopes is None else keys.slopes / np.float32(timing.rate)
    return Keys(timing.of(keys.frames).astype(np.float32), keys.values, slopes)


def _prosody(result: StoredResult, facts: Facts) -> tuple[Prosody, float]:
    """Prosody where the speech is heard, and the scene frame of its first row."""
    raw, stored = result.motion, result.extras[LOUDNESS]
    if stored.shape != raw.weights.shape[:1] or stored.dtype != np.uint8:
        raise DamagedData("The stored loudness of the speech is damaged; generate the lip sync again.")
    # Above the floor, so that 0 is silence: what lies between two pieces of speech.
    heard = np.stack([prosody_of(raw, stored / 2.0).jaw, stored / 2.0], axis=1).astype(np.float32)
    both = FaceMotion(raw.fps, 0.0, ("jaw", LOUDNESS), heard, np.zeros((2, 0, 3), np.float32), "vertices")
    placed, start = place(both, facts.pieces, facts.fps) if facts.pieces else (both, facts.start_frame)
    jaw, loudness = placed.weights.T
    return Prosody(placed.fps, loudness + FLOOR, jaw), start


def _life(life: LifeSliders, prosody: Prosody, facts: Facts, start: float) -> Life:
    """The sliders in rows of `prosody`, the first of which is heard at scene frame `start`."""
    frames = start + np.arange(len(prosody.jaw)) / prosody.fps * facts.fps
    amounts = {name: at_frames(setting, frames) for name, setting in life.amounts.items()}
    return Life(**amounts, rate=life.rate, seed=life.seed)
