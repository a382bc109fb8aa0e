# SPDX-License-Identifier: GPL-3.0-or-later
"""Muted regions and keyed sliders of a head go along with the words when these are re-timed.

They stand on the timeline, where the words were: without this, what was muted would be heard again, and the next words
be silent, and what was keyed for one word would shape another.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import astuple, dataclass

import bpy
import numpy as np

from ..inference import MeshError
from ..inference.hand_edits import moved_keys
from ..inference.pieces import Piece, follow_around, follow_spans
from . import face_properties, keyframes, single_user
from .face_properties import face_of

_MOVED = 1e-3  # frames


@dataclass(frozen=True)
class Route:
    """Where the words of a head were, `before`, and are, `after`; `rate`: how frames grow with the scene's own rate."""

    before: Sequence[Piece]
    after: Sequence[Piece]
    rate: float

    def of(self, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """A `Move` of what was keyed; words that are cut off and spoken over have no place."""
        return follow_around(self.before, self.after, self.rate, frames)

    def keeping(self, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The same, but that what has no place stays where it was: no key may be lost."""
        goals, ways = self.of(frames)
        return np.where(np.isfinite(goals), goals, frames), ways


@dataclass(frozen=True)
class Moved:
    """How many keys of sliders and muted regions went along; and how many were on words that are cut off and spoken
    over: keys that are `kept` where they were, and regions that are `gone`.
    """

    keys: int = 0
    kept: int = 0
    regions: int = 0
    gone: int = 0

    def __add__(self, other: Moved) -> Moved:
        return Moved(*map(sum, zip(astuple(self), astuple(other), strict=True)))


def follow(obj: bpy.types.Object, route: Route, undo: ExitStack) -> Moved:
    """Let what is muted and keyed on `obj`, and on the objects that share its mesh, go where `route` leads.

    `undo` learns how to take that back. Raises MeshError where keys would have to move in an action that may not be
    changed.
    """
    heads = [each for each in face_properties.sharing(obj) if each.is_editable]
    regions = [_follow_mutes(each, route, undo) for each in heads][:1]  # all have the same
    return sum([_follow_keys(each, route, undo) for each in heads] + regions, Moved())


def _follow_mutes(obj: bpy.types.Object, route: Route, undo: ExitStack) -> Moved:
    face = face_of(obj)
    before = face_properties.mutes_of(face)
    parts = [follow_spans(route.before, route.after, route.rate, [region]) for region in before]
    rounded = [[(round(first), round(last)) for first, last in part] for part in parts]
    moved = sum(part not in ([], [region]) for region, part in zip(before, rounded, strict=True))
    after = [region for part in rounded for region in part]
    undo.callback(face_properties.set_mutes, face, before)
    face_properties.set_mutes(face, after)
    return Moved(regions=moved, gone=rounded.count([]))


def _follow_keys(obj: bpy.types.Object, route: Route, undo: ExitStack) -> Moved:
    """Move the keys of the sliders in the action of `obj`."""
    data = obj.animation_data
    if data is None or data.action is None or data.action_slot is None:
        return Moved()
    paths = {group.path_from_id(name) for group, name in face_properties.animatable(obj)}
    there = keyframes.curves_of(keyframes.bag_of(data.action, data.action_slot))
    keyed = {path: keyframes.read(there[path]) for path in paths & there.keys()}
    frames = np.concatenate([np.zeros(0), *(keys["co"][:, 0] for keys in keyed.values())])
    goals, _ = route.of(frames)
    moved = Moved(keys=int((np.abs(goals - frames) > _MOVED).sum()), kept=int(np.isnan(goals).sum()))
    if not moved.keys:
        return moved
    if not data.action.is_editable:
        raise MeshError(f"Sliders are keyed in “{data.action.name}”, linked from another file; make it local first.")
    if data.use_tweak_mode:
        raise MeshError(f"A strip of “{obj.name}” is in tweak mode; leave it in the nonlinear animation editor.")
    action = single_user.make(obj, data.action, data.action_slot, undo)
    fcurves = keyframes.curves_of(keyframes.bag_of(action, data.action_slot))
    for path, keys in keyed.items():
        undo.callback(keyframes.write, fcurves[path], keys)
        undo.callback(keyframes.time_modifiers, fcurves[path], keyframes.modifiers_of(fcurves[path]))
        keyframes.write(fcurves[path], moved_keys(keys, route.keeping, route.rate), keys)
        keyframes.move_modifiers(fcurves[path], route.of, route.rate)
    return moved
