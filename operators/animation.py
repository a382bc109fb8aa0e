# SPDX-License-Identifier: GPL-3.0-or-later
"""Lip syncs that are in the file: found, and written anew by Refine and Re-time, always with the hand edits.

An Action with a bake carries `ids.MARK`, and in `ids.WRITTEN` the curves as they were generated; what the animator did
to them since is found by comparing (`inference.hand_edits`). The bake either made the Action, or it is the guest
(`ids.GUEST`) of an Action of the user's: then only the curves that it brought are ever changed.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import bpy
import numpy as np

from ..inference import CurveSet, LipSyncError
from ..inference.compact import DamagedData, pack, unpack
from ..inference.curves import Keys
from ..inference.hand_edits import SAME, CurveEdits, Move, Written, count, diff, from_arrays, merge, shifted, to_arrays
from . import id_bytes, ids, keyframes, nla_strips, single_user
from .keyframes import value_path
from .nla_strips import is_ours as is_ours
from .playing import in_action

_REST = 1e-3  # of a shape key's value


@dataclass(frozen=True)
class Bake:
    """A lip sync that is there: in `slot` of `action`, played by `keys`; `strip` when the NLA plays it."""

    keys: bpy.types.Key
    action: bpy.types.Action
    slot: Any
    strip: bpy.types.NlaStrip | None = None


def bakes(keys: bpy.types.Key | None) -> list[Bake]:
    """All lip syncs that play on `keys`: the assigned Action's first (in tweak mode the strip's), then the NLA's.

    A strip of the library's that gave way to a bake of this file is none of them.
    """
    data = keys.animation_data if keys else None
    if data is None:
        return []
    found = []
    if is_bake(data.action, data.action_slot):
        found.append(Bake(keys, data.action, data.action_slot))
    for track in data.nla_tracks:
        for strip in track.strips:
            action = strip.action
            known = any(bake.action == action for bake in found)
            if is_bake(action, strip.action_slot) and not known and not nla_strips.gave_way(data, strip):
                found.append(Bake(keys, action, strip.action_slot, strip))
    return found


def is_bake(action: bpy.types.Action | None, slot: Any | None) -> bool:
    """Whether `slot` of `action` holds a lip sync; it has one slot, and others may be of other heads."""
    return (
        action is not None
        and slot is not None
        and ids.MARK in action
        and action.get(ids.GUEST, action.get(ids.SLOT, slot.handle)) == slot.handle
    )


def own(bake: Bake, undo: ExitStack) -> Bake:
    """`bake` in an Action that no other head plays, so that it may be changed. `undo` learns how to take that back."""
    if not bake.action.is_editable:
        return bake  # whoever changes it says so
    action = single_user.make(bake.keys, bake.action, bake.slot, undo)
    return replace(bake, action=action, slot=action.slots[bake.slot.identifier])


def hand_edits(bake: Bake) -> dict[str, CurveEdits]:
    """What the animator did to the generated curves, by shape key; raises DamagedData."""
    fcurves, stored = keyframes.curves_of(keyframes.bag_of(bake.action, bake.slot)), stored_curves(bake.action)
    renamed = _renamed(fcurves, stored)
    found = {}
    for name, before in stored.items():
        fcurve = fcurves.get(renamed.get(name, value_path(name)))
        if _untouched(fcurve, before):
            continue
        edits = diff(None if fcurve is None else keyframes.read(fcurve), before)
        if edits is not None:
            found[name] = edits
    return found


def users_below(data: bpy.types.AnimData, track: bpy.types.NlaTrack | None) -> dict[str, str]:
    """What the user animates in the NLA below `track` (None: anywhere): name of his strip by path of the F-curve.

    A lip sync there would cover it, at every frame, so it is left to him.
    """
    found: dict[str, str] = {}
    for below in data.nla_tracks if data.use_nla else ():
        if below == track:
            break
        for strip in below.strips if not below.mute else ():
            found |= dict.fromkeys(_animated_by_user(strip), strip.name)
    return found


def lies_apart(data: bpy.types.AnimData, paths: set[str], span: tuple[float, float]) -> bool:
    """Whether strips of the user's, none of which plays in the frames `span`, hold all of `paths` at rest after theirs.

    So do lines that were merged. A strip in those frames covers none: it need hold nothing (`nla_strips.is_held`).
    """
    held: set[str] = set()
    for track in data.nla_tracks if data.use_nla else ():
        for strip in track.strips if not track.mute else ():
            theirs = paths & _animated_by_user(strip)
            if theirs and not _leaves(strip, theirs, span):
                return False
            held |= theirs
    return bool(paths) and held == paths


def _leaves(strip: bpy.types.NlaStrip, paths: set[str], span: tuple[float, float]) -> bool:
    """Whether `strip` leaves the frames `span` to others: it plays elsewhere, and holds `paths` at 0 there."""
    if strip.extrapolation != "HOLD" or strip.action is None:
        return False
    if strip.frame_end > span[0]:
        return bool(strip.frame_start >= span[1])
    fcurves, frame = keyframes.curves_of(keyframes.bag_of(strip.action, strip.action_slot)), in_action(strip, span[0])
    return all(abs(fcurves[path].evaluate(frame)) < _REST for path in paths)


def _animated_by_user(strip: bpy.types.NlaStrip) -> set[str]:
    """Paths of the F-curves that `strip`, or those that a meta strip holds, plays and no bake made."""
    if strip.mute:
        return set()
    found = {path for inner in strip.strips for path in _animated_by_user(inner)}
    action, slot = strip.action, strip.action_slot
    if action is None or slot is None or is_ours(action, slot):
        return found
    brought = {value_path(name) for name in stored_names(action)}
    fcurves = keyframes.curves_of(keyframes.bag_of(action, slot))
    return found | {path for path, fcurve in fcurves.items() if not fcurve.mute and path not in brought}


def _left_to_user(bake: Bake) -> dict[str, str]:
    """What a bake would cover from where it plays; an Action that does not play covers nothing."""
    data = bake.keys.animation_data
    for track in data.nla_tracks:
        if any(strip.action == bake.action for strip in track.strips):
            return users_below(data, track)
    return users_below(data, None) if data.action == bake.action else {}


def follow_names(bake: Bake, names: Iterable[str]) -> None:
    """Let the curves of `names` animate the shape keys that are called so now, hand edits and all.

    Until then they follow the keys that they were generated for, however these are renamed.
    """
    fcurves = keyframes.curves_of(keyframes.bag_of(bake.action, bake.slot))
    renamed = _renamed(fcurves, stored_curves(bake.action))
    for name in renamed.keys() & set(names):
        fcurves[renamed[name]].data_path = value_path(name)


def rewrite(
    bake: Bake, curves: CurveSet, *, keep_edits: bool = True, move: Move | None = None, rate: float = 1.0
) -> int:
    """Write `curves` in place of what was generated before, in the frames of the Action; hand edits stay.

    Made for a slider that is being dragged: keys and curves that don't differ are not touched. keep_edits: False drops
    them. move: where hand edits, and the frames that modifiers are limited to, go when the speech moved in time; rate:
    how their handles stretch with it. F-curves that the user added, in the Action or in NLA strips below, and mutes of
    ours, are left alone; a curve that `curves` no longer has rests at 0, but for hand edits. Returns the number of
    hand-edited keys. Raises LipSyncError when the Action may not be changed or what it carries is damaged.
    """
    action = bake.action
    if not action.is_editable:
        raise LipSyncError(f"The action “{action.name}” is linked from another file; make it local first.")
    stored = stored_curves(action)
    bag = keyframes.make_bag(action, bake.slot)
    fcurves = keyframes.curves_of(bag)
    now: dict[str, Written] = {}
    edited = 0
    renamed = _renamed(fcurves, stored)
    former = {path: name for name, path in renamed.items()}
    theirs = _left_to_user(bake)
    for name, generated in zip(curves.names, curves.keys, strict=True):
        path = renamed.get(name, value_path(name))
        fcurve, before = fcurves.get(path), stored.pop(former.get(path, name), None)
        if before is None and (fcurve is not None or path in theirs):
            continue  # the user's own
        if fcurve is not None and move is not None:
            keyframes.move_modifiers(fcurve, move, rate)
        if _slid(fcurve, before, generated):
            now[name] = Written.whole(generated)
            continue
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
    for name, before in stored.items():
        rest = come_to_rest(bag, fcurves.get(renamed.get(name, value_path(name))), before, keep_edits)
        if rest is not None:
            now[name] = rest
    now = _in_order(now, keyframes.curves_of(bag), renamed)
    id_bytes.store(action, ids.WRITTEN, pack({"fps": np.float64(curves.fps), **to_arrays(now)}, level=0))
    return edited


def rewrite_all(shaped: Iterable[tuple[Bake, CurveSet]], undo: ExitStack, keep_edits: bool = True) -> None:
    """`rewrite` for the bakes of a head alone; NLA strips that played all of their Actions do so again.

    `undo` learns how to give other heads back what they shared with it.
    """
    spans = []
    for bake, curves in shaped:
        bake = own(bake, undo)
        if bake.strip is not None:
            span = keyframes.span(bake.action, bake.slot)
            strips = (strip for track in bake.keys.animation_data.nla_tracks for strip in track.strips)
            spans += [(strip, span) for strip in strips if strip.action == bake.action]
        rewrite(bake, curves, keep_edits=keep_edits)
    nla_strips.follow(spans)


def _renamed(fcurves: dict[str, bpy.types.FCurve], stored: dict[str, Written]) -> dict[str, str]:
    """Where the curves of shape keys are that were renamed since they were written: path by former name.

    Blender changes the path with the name, so they are told by their keys, most of which must still stand. Two keys may
    also have exchanged their names, as sides do that were mixed up.
    """
    paths = {value_path(name): name for name in stored}
    strays = [path for path in fcurves if path not in paths]
    found = {}
    for path, name in paths.items():
        if path in fcurves or not strays:
            continue
        for stray in strays:
            keys = keyframes.read(fcurves[stray])
            edits = diff(keys, stored[name])
            if len(keys) and (edits is None or 2 * len(edits.hand) < len(keys)):
                found[name] = stray
                strays.remove(stray)
                break
    return found | _exchanged(fcurves, stored)


def _in_order(
    curves: dict[str, Written], fcurves: dict[str, bpy.types.FCurve], renamed: dict[str, str]
) -> dict[str, Written]:
    """`curves` in the order in which their F-curves stand, by which renamed shape keys are known; lost ones last."""
    order = {path: place for place, path in enumerate(fcurves)}
    places = {name: order.get(renamed.get(name, value_path(name)), len(order)) for name in curves}
    return {name: curves[name] for name in sorted(curves, key=places.__getitem__)}


def _exchanged(fcurves: dict[str, bpy.types.FCurve], stored: dict[str, Written]) -> dict[str, str]:
    """Where the curves of shape keys are two of which have each other's name now; quick while nothing is edited.

    Such curves have changed places, too. Those that stand as they were written had their keys pasted: hand edits.
    """
    places = {name: keyframes.places(fcurves[path]) for name in stored if (path := value_path(name)) in fcurves}
    off = {name: _count_off(places[name], stored[name].keys) for name in places}
    order = {path: place for place, path in enumerate(fcurves)}
    found: dict[str, str] = {}
    for one, two in combinations([name for name in off if off[name]], 2):
        if order[value_path(one)] < order[value_path(two)]:
            continue
        crossed = _count_off(places[one], stored[two].keys) + _count_off(places[two], stored[one].keys)
        if 2 * crossed < off[one] + off[two]:
            found |= {one: value_path(two), two: value_path(one)}
    return found


def _count_off(places: np.ndarray, keys: Keys) -> int:
    """How many keys at `places` (n, 2) are none of `keys`."""
    written = np.stack([keys.frames, keys.values], axis=1)
    if np.array_equal(places, written) or not len(keys):
        return len(places) - len(keys)
    nearest = np.searchsorted((keys.frames[1:] + keys.frames[:-1]) / 2, places[:, 0])
    return int((np.abs(places - written[nearest]).max(axis=1) >= SAME).sum())


def own_curves(action: bpy.types.Action, slot: Any | None) -> list[bpy.types.FCurve]:
    """F-curves in the Action of a bake that the user added; none where that cannot be told."""
    try:
        stored = stored_curves(action)
    except DamagedData:
        return []
    fcurves = keyframes.curves_of(keyframes.bag_of(action, slot) if slot else None)
    ours = {*map(value_path, stored), *_renamed(fcurves, stored).values()}
    return [fcurve for path, fcurve in fcurves.items() if path not in ours] if stored else []


def _untouched(fcurve: bpy.types.FCurve | None, before: Written) -> bool:
    """Whether nobody edited `fcurve`, found out quickly; false where that takes a closer look."""
    return fcurve is not None and not before.hidden.any() and keyframes.stands(fcurve, before.keys)


def _slid(fcurve: bpy.types.FCurve | None, before: Written | None, generated: Keys) -> bool:
    """The short way, while a slider is dragged: nobody edited the curve and its keys only move; false otherwise."""
    if before is None or generated.slopes is not None or len(before.keys) != len(generated):
        return False
    if not _untouched(fcurve, before):
        return False
    old = before.keys
    if not (np.array_equal(old.frames, generated.frames) and np.array_equal(old.values, generated.values)):
        keyframes.slide(fcurve, generated)
    return True


def _new_curve(bag: Any, name: str) -> bpy.types.FCurve:
    fcurve = bag.fcurves.new(value_path(name))
    fcurve.group = bag.groups.get(ids.TRACK) or bag.groups.new(ids.TRACK)
    return fcurve


def come_to_rest(bag: Any, fcurve: bpy.types.FCurve | None, before: Written, keep_edits: bool = True) -> Written | None:
    """A curve that is no longer generated: gone, or at 0 but for what was edited by hand, so that it may come back."""
    if fcurve is None:
        return before if keep_edits else None
    current = keyframes.read(fcurve)
    edits = diff(current, before) if keep_edits else None
    if edits is None:
        bag.fcurves.remove(fcurve)
        return None
    old = before.keys
    still = Keys(old.frames, np.zeros_like(old.values), None if old.slopes is None else np.zeros_like(old.slopes))
    merged, written = merge(still, edits)
    assert merged is not None
    keyframes.write(fcurve, merged, current)
    return written


def generated(action: bpy.types.Action) -> CurveSet:
    """The curves that `action` carries as they were generated, without hand edits; raises DamagedData."""
    arrays = unpack(bytes(action[ids.WRITTEN]))
    stored = from_arrays(arrays)
    return CurveSet(float(arrays["fps"]), tuple(stored), tuple(curve.keys for curve in stored.values()))


def stored_names(action: bpy.types.Action) -> tuple[str, ...]:
    """Shape keys whose curves were generated; none where that is damaged."""
    try:
        return tuple(stored_curves(action))
    except DamagedData:
        return ()


def stored_curves(action: bpy.types.Action) -> dict[str, Written]:
    """The curves that were generated; none for an Action of ours from before they were stored."""
    return from_arrays(unpack(bytes(action[ids.WRITTEN]))) if ids.WRITTEN in action else {}
