# SPDX-License-Identifier: GPL-3.0-or-later
"""Lip sync in Actions: written by a bake, written anew by Refine and Re-time, always with the animator's hand edits.

A bake makes an Action of its own, which carries `ids.MARK` and, in `ids.WRITTEN`, the curves as they were generated;
what the animator did to them since is found by comparing (`inference.hand_edits`). An earlier bake loses its place to
the new one and is kept with a fake user. Or a bake is the guest (`ids.GUEST`) of an Action of the user's, in the slot
that plays: then only the curves that it brought are ever changed.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import bpy
import numpy as np

from ..inference import CurveSet, LipSyncError
from ..inference.compact import DamagedData, pack, unpack
from ..inference.hand_edits import CurveEdits, count, diff, from_arrays, merge, shifted, to_arrays
from ..inference.hand_edits import Written as WrittenCurve
from . import ids, keyframes, nla_strips
from .keyframes import value_path
from .nla_strips import is_ours

Move = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Bake:
    """A lip sync that is there: in `slot` of `action`, played by `keys`; `strip` when the NLA plays it."""

    keys: bpy.types.Key
    action: bpy.types.Action
    slot: Any
    strip: bpy.types.NlaStrip | None = None


@dataclass(frozen=True)
class Written:
    """What a bake wrote: name of its Action, where it plays, and the earlier bake that it replaced ("" if none).

    covered: shape keys that the user's own action, which plays on top, animates too. own: shape keys that have keys
    of the user's in the slot and are left to him. edited: keys edited by hand that were taken over.
    """

    action: str
    place: str
    replaced: str
    covered: tuple[str, ...] = ()
    own: tuple[str, ...] = ()
    edited: int = 0


def bakes(keys: bpy.types.Key | None) -> list[Bake]:
    """All lip syncs that play on `keys`: the assigned Action's first (in tweak mode the strip's), then the NLA's."""
    data = keys.animation_data if keys else None
    if data is None:
        return []
    found = []
    if data.action is not None and ids.MARK in data.action and data.action_slot is not None:
        found.append(Bake(keys, data.action, data.action_slot))
    for track in data.nla_tracks:
        for strip in track.strips:
            action = strip.action
            if action is None or ids.MARK not in action or strip.action_slot is None:
                continue
            if all(bake.action != action for bake in found):
                found.append(Bake(keys, action, strip.action_slot, strip))
    return found


def hand_edits(bake: Bake) -> dict[str, CurveEdits]:
    """What the animator did to the generated curves, by shape key; raises DamagedData."""
    fcurves = keyframes.curves_of(keyframes.bag_of(bake.action, bake.slot))
    found = {}
    for name, before in _stored(bake.action).items():
        fcurve = fcurves.get(value_path(name))
        edits = diff(None if fcurve is None else keyframes.read(fcurve), before)
        if edits is not None:
            found[name] = edits
    return found


def rewrite(
    bake: Bake, curves: CurveSet, *, keep_edits: bool = True, move: Move | None = None, rate: float = 1.0
) -> int:
    """Write `curves` in place of what was generated before, in the frames of the Action; hand edits stay.

    Made for a slider that is being dragged: keys and curves that don't differ are not touched. keep_edits: False drops
    them. move: where frames (n,) of hand edits go when the speech moved in time; rate: how their handles stretch with
    it. F-curves that the user added, and mutes and modifiers of ours, are left alone; a curve that `curves` no longer
    has keeps what was keyed by hand. An NLA strip that played the whole Action does so again. Returns the number of
    hand-edited keys. Raises LipSyncError when the Action may not be changed or what it carries is damaged.
    """
    action = bake.action
    if not action.is_editable:
        raise LipSyncError(f"The action “{action.name}” is linked from another file; make it local first.")
    stored = _stored(action)
    bag = keyframes.make_bag(action, bake.slot)
    fcurves = keyframes.curves_of(bag)
    span = tuple(action.frame_range)
    now: dict[str, WrittenCurve] = {}
    edited = 0
    for name, generated in zip(curves.names, curves.keys, strict=True):
        fcurve, before = fcurves.get(value_path(name)), stored.get(name)
        if fcurve is not None and before is None:
            continue  # the user's own
        current = None if fcurve is None else keyframes.read(fcurve)
        edits = diff(current, before) if before is not None and keep_edits else None
        if edits is not None and move is not None:
            edits = shifted(edits, move, rate)
        merged, now[name] = merge(generated, edits)
        if merged is None:
            continue
        if edits is not None:
            edited += count(edits)
        keyframes.write(fcurve if fcurve is not None else _new_curve(bag, name), merged, current)
    for name in stored.keys() - now.keys():
        if value_path(name) in fcurves:
            _leave(bag, fcurves[value_path(name)], stored[name], keep_edits)
    action[ids.WRITTEN] = pack({"fps": np.float64(curves.fps), **to_arrays(now)}, level=0)
    if bake.strip is not None:
        nla_strips.follow(bake.strip, span, tuple(action.frame_range))
    return edited


def write(
    keys: bpy.types.Key,
    curves: CurveSet,
    name: str,
    destination: str,
    about: str,
    undo: ExitStack,
    keep_edits: bool = True,
) -> Written:
    """Animate the values of `keys`.

    destination: "ACTION", a new Action called `name` is assigned; "NLA", it becomes a strip; "SLOT", the curves go into
    the slot that plays. Another action that is assigned keeps playing; a new one of ours then goes to a strip. Hand
    edits of the bake that loses its place are taken over, unless `keep_edits` is False. `about` (JSON) is stored with
    the Action. `undo` learns how to take everything back. Raises LipSyncError.
    """
    if keys.animation_data is None:
        undo.callback(keys.animation_data_clear)
        keys.animation_data_create()
    data = keys.animation_data
    earlier = data.action
    unknown = earlier is not None and is_ours(earlier) and ids.WRITTEN not in earlier  # by an older release
    if earlier is not None and not unknown and (destination == "SLOT" or ids.GUEST in earlier):
        return _write_into(keys, curves, about, undo, keep_edits)
    users_own = earlier is not None and not is_ours(earlier)
    to_nla = destination == "NLA" or users_own
    origin = _origin(keys, curves, to_nla) if keep_edits else None
    action, slot = _new_action(keys, name, origin, undo)
    move, rate = _moved(origin, about, curves.fps)
    edited = rewrite(Bake(keys, action, slot), curves, move=move, rate=rate)
    action[ids.MARK] = about
    replaced = ""
    if earlier is not None and not users_own:
        replaced = nla_strips.keep(earlier, undo)
        _assign(data, None, None, undo)
    if to_nla:
        replaced = nla_strips.place(data, action, slot, undo) or replaced
        place = f"NLA track “{ids.TRACK}”"
    else:
        _assign(data, action, slot, undo)
        place = "action"
    covered = _animated(earlier, data.action_slot, curves.names) if users_own else ()
    return Written(action.name, place, replaced, covered, edited=edited)


def _write_into(keys: bpy.types.Key, curves: CurveSet, about: str, undo: ExitStack, keep_edits: bool) -> Written:
    """Put `curves` into the slot of the assigned Action; shape keys that the user animates there stay his."""
    data = keys.animation_data
    action = data.action
    if not action.is_editable:
        raise LipSyncError(f"The action “{action.name}” is linked from another file; bake into a new action instead.")
    if data.action_slot is None:
        fitting = list(data.action_suitable_slots)
        slot = fitting[0] if fitting else action.slots.new(id_type="KEY", name=keys.user.name)
        if not fitting:
            undo.callback(action.slots.remove, slot)
        _assign(data, action, slot, undo)
    slot = data.action_slot
    _remember(action, slot, undo)
    if ids.MARK not in action:
        action[ids.GUEST] = True
    before = Bake(keys, action, slot)
    move, rate = _moved(before, about, curves.fps) if ids.WRITTEN in action else (None, 1.0)
    edited = rewrite(before, curves, keep_edits=keep_edits, move=move, rate=rate)
    action[ids.MARK] = about
    brought = _stored(action)
    own = tuple(name for name in curves.names if name not in brought)
    return Written(action.name, f"slot “{slot.name_display}”", "", own=own, edited=edited)


def _remember(action: bpy.types.Action, slot: Any, undo: ExitStack) -> None:
    """Teach `undo` the marks of `action`, and the keys of all F-curves in `slot`, as they are now."""
    marks = {mark: action[mark] for mark in (ids.MARK, ids.WRITTEN, ids.RAW, ids.GUEST) if mark in action}
    fcurves = keyframes.curves_of(keyframes.bag_of(action, slot))
    kept = {path: keyframes.read(fcurve) for path, fcurve in fcurves.items()}

    def restore() -> None:
        for mark in (ids.MARK, ids.WRITTEN, ids.RAW, ids.GUEST):
            if mark in marks:
                action[mark] = marks[mark]
            elif mark in action:
                del action[mark]
        bag = keyframes.make_bag(action, slot)
        for path, fcurve in keyframes.curves_of(bag).items():
            if path not in kept:
                bag.fcurves.remove(fcurve)
        there = keyframes.curves_of(bag)
        for path, points in kept.items():
            keyframes.write(there[path] if path in there else bag.fcurves.new(path), points)

    undo.callback(restore)


def _new_action(keys: bpy.types.Key, name: str, origin: Bake | None, undo: ExitStack) -> tuple[bpy.types.Action, Any]:
    """An empty Action with a slot; or a copy of an earlier bake's, with all that the animator did to it."""
    if origin is None:
        action = bpy.data.actions.new(name)
        undo.callback(bpy.data.actions.remove, action)
        return action, action.slots.new(id_type="KEY", name=keys.user.name)
    action = origin.action.copy()
    undo.callback(bpy.data.actions.remove, action)
    action.name, action.use_fake_user = name, False
    slot = next(slot for slot in action.slots if slot.identifier == origin.slot.identifier)
    for other in [other for other in action.slots if other != slot]:
        action.slots.remove(other)
    return action, slot


def _new_curve(bag: Any, name: str) -> bpy.types.FCurve:
    fcurve = bag.fcurves.new(value_path(name))
    fcurve.group = bag.groups.get(ids.TRACK) or bag.groups.new(ids.TRACK)
    return fcurve


def _leave(bag: Any, fcurve: bpy.types.FCurve, before: WrittenCurve, keep_edits: bool) -> None:
    """Of a curve that is no longer generated keep the animator's keys alone."""
    current = keyframes.read(fcurve)
    edits = diff(current, before) if keep_edits else None
    if edits is not None and len(edits.hand):
        keyframes.write(fcurve, edits.hand, current)
    else:
        bag.fcurves.remove(fcurve)


def _stored(action: bpy.types.Action) -> dict[str, WrittenCurve]:
    """The curves that were generated; none for an Action of ours from before they were stored."""
    return from_arrays(unpack(bytes(action[ids.WRITTEN]))) if ids.WRITTEN in action else {}


def _origin(keys: bpy.types.Key, curves: CurveSet, to_nla: bool) -> Bake | None:
    """The bake that the new one replaces and whose hand edits it takes over: where the two overlap in time."""
    first, last = curves.frame_range
    crossed = [strip.action for strip in nla_strips.in_the_way(keys.animation_data, first, last)] if to_nla else []
    for bake in bakes(keys):
        begin, end = bake.action.frame_range
        replaced = bake.action in crossed if bake.strip is not None else bake.action == keys.animation_data.action
        if replaced and is_ours(bake.action) and ids.WRITTEN in bake.action and begin <= last and end >= first:
            try:
                _stored(bake.action)
            except DamagedData:
                continue
            return bake
    return None


def _moved(origin: Bake | None, about: str, fps: float) -> tuple[Move | None, float]:
    """Where hand edits go when the same speech begins elsewhere, or the scene has another rate (Hz)."""
    if origin is None:
        return None, 1.0
    try:
        old, new = json.loads(origin.action[ids.MARK]), json.loads(about)
        begin, again = float(old["start_frame"]), float(new["start_frame"])
        rate = fps / float(unpack(bytes(origin.action[ids.WRITTEN]))["fps"])
        same = old["speech"] == new["speech"]
    except (ValueError, KeyError, TypeError):
        return None, 1.0
    if not same or (begin == again and abs(rate - 1) < 1e-9):
        return None, 1.0
    return (lambda frames: again + rate * (frames - begin)), rate


def _assign(data: bpy.types.AnimData, action: Any | None, slot: Any | None, undo: ExitStack) -> None:
    """Assign an Action and its slot: Blender never chooses the slot of a new Action by itself."""
    undo.callback(_set_action, data, data.action, data.action_slot)
    _set_action(data, action, slot)


def _set_action(data: bpy.types.AnimData, action: Any | None, slot: Any | None) -> None:
    data.action = action
    if action is not None and slot is not None:
        data.action_slot = slot


def _animated(action: bpy.types.Action, slot: Any | None, names: tuple[str, ...]) -> tuple[str, ...]:
    """Those of the shape keys `names` whose value `action` animates in `slot`."""
    paths = keyframes.curves_of(keyframes.bag_of(action, slot) if slot else None)
    return tuple(name for name in names if value_path(name) in paths)
