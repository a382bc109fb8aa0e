# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a bake goes: a new Action, an NLA strip, or the slot that plays.

A bake makes an Action of its own. An earlier bake loses its place to it and is kept with a fake user; the new one
begins as its copy, or where it says something else takes along what the animator keyed there himself, so that all that
he did is taken over. Only when asked to, a bake is the guest of the Action that plays: it brings its curves to those
that are there, and never touches a shape key that the user animates.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import bpy

from ..inference import CurveSet, LipSyncError
from ..inference.compact import DamagedData
from ..inference.hand_edits import Move
from ..inference.pieces import follow, from_plain
from . import animation, id_bytes, ids, keyframes, nla_strips, single_user, stored_result
from .animation import Bake
from .keyframes import value_path
from .nla_strips import is_ours

_REPLACING = {"action_blend_type": "REPLACE", "action_extrapolation": "HOLD", "action_influence": 1.0}
_ANY = 1 << 40  # rows of the raw motion: not at hand here, and not needed


@dataclass(frozen=True)
class Written:
    """What a bake wrote: name of its Action, where it plays, and the earlier bake that it replaced ("" if none).

    covered: shape keys that the user's own action, which plays on top, animates too. own: shape keys that have keys
    of the user's in the slot, or in NLA strips that the bake would cover, and are left to him. edited: keys edited by
    hand that were taken over. left: the Action whose hand edits were not, as they are on other shape keys ("": none).
    moved: the same speech was heard elsewhere before. bare: strips that it replaced had modifiers.
    """

    action: str
    place: str
    replaced: str
    covered: tuple[str, ...] = ()
    own: tuple[str, ...] = ()
    edited: int = 0
    left: str = ""
    moved: bool = False
    bare: bool = False


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
    the slot that plays. Another action that is assigned keeps playing; a new one of ours then goes to a strip, and so
    it does where strips play other lines of the head. Hand edits of the bake that loses its place are taken over,
    unless `keep_edits` is False. `about` (JSON) is stored with the Action. `undo` learns how to take everything back.
    Raises LipSyncError.
    """
    if keys.animation_data is None:
        undo.callback(keys.animation_data_clear)
        keys.animation_data_create()
    data = keys.animation_data
    earlier = data.action
    users_own = earlier is not None and not is_ours(earlier, data.action_slot)
    unknown = earlier is not None and not users_own and ids.WRITTEN not in earlier  # by an older release
    guest = animation.is_bake(earlier, data.action_slot) and ids.GUEST in earlier
    into_slot = earlier is not None and not unknown and (destination == "SLOT" or guest)
    apart = not into_slot and animation.lies_apart(data, set(map(value_path, curves.names)), curves.frame_range)
    # An action plays over all strips, for good: it would silence the head's other lines, merged ones too.
    to_nla = destination == "NLA" or users_own or apart or nla_strips.other_lines(data, *_span(curves, about))
    wanted, track = curves.names, next(reversed(nla_strips.tracks_of(data)), None)
    users = {} if apart else animation.users_below(data, track if to_nla and not into_slot else None)
    curves = _uncovering(curves, users)
    if into_slot:
        written = _write_into(keys, curves, about, undo, keep_edits)
    else:
        written = _write_anew(keys, curves, name, to_nla, about, undo, keep_edits)
    brought = animation.stored_curves(bpy.data.actions[written.action, None])
    if wanted and brought.keys().isdisjoint(wanted):
        raise LipSyncError(
            f"Your own curves in “{written.action}” move every shape key that would speak; delete them, then generate "
            "again."
        )
    return replace(written, own=tuple(key for key in wanted if key not in brought))


def _uncovering(curves: CurveSet, users: dict[str, str]) -> CurveSet:
    """`curves` without those of `users`, strips by paths. Raises LipSyncError when none is left."""
    kept = [(name, keys) for name, keys in zip(curves.names, curves.keys, strict=True) if value_path(name) not in users]
    if curves.names and not kept:
        strip = users[value_path(curves.names[0])]
        raise LipSyncError(
            f"Your animation strip “{strip}” moves every shape key that would speak; mute it in the nonlinear "
            "animation editor, then generate again."
        )
    return replace(curves, names=tuple(name for name, _ in kept), keys=tuple(keys for _, keys in kept))


def _write_anew(
    keys: bpy.types.Key, curves: CurveSet, name: str, to_nla: bool, about: str, undo: ExitStack, keep_edits: bool
) -> Written:
    """Put `curves` into an Action of their own, which is assigned or becomes a strip."""
    data = keys.animation_data
    earlier, before = data.action, data.action_slot
    users_own = earlier is not None and not is_ours(earlier, before)
    span = _span(curves, about)
    displaced = [*_displaced(keys, span, about)]
    bare = any(len(strip.modifiers) for strip in nla_strips.in_the_way(data, *span))
    origin = next((bake for bake in displaced if _same_keys(bake.action, about)), None)
    unlike = (bake for bake in displaced if keep_edits and not _same_keys(bake.action, about))
    left = next((bake.action.name for bake in unlike if animation.hand_edits(bake)), "")
    action, slot = _new_action(keys, name, origin, undo)
    # A line of another time, in an action so far, goes on playing in a strip of its own.
    another = to_nla and not users_own and before is not None and not _meet(nla_strips.spoken(earlier, before), span)
    if earlier is not None and not users_own and not another:
        _take_along(data, keyframes.make_bag(action, slot), curves.frame_range if to_nla else None)
    move, rate = _moved(origin, about, curves.fps)
    moved = move is not None and origin is not None and _begins_elsewhere(origin, span)
    bake = Bake(keys, action, slot)
    animation.follow_names(bake, curves.names)
    edited = animation.rewrite(bake, curves, keep_edits=keep_edits, move=move, rate=rate)
    _unsilence(action, slot, undo)
    action[ids.MARK], action[ids.SLOT] = about, slot.handle
    replaced = ""
    if earlier is not None and not users_own:
        _assign(data, None, None, undo)
        replaced = "" if another else nla_strips.keep(earlier, undo)
    if another:
        nla_strips.place(data, earlier, before, undo)
    if to_nla:
        replaced = nla_strips.place(data, action, slot, undo, move, rate) or replaced
        place = f"NLA track “{ids.TRACK}”"
    else:
        replaced = nla_strips.clear(data, *span, undo) or replaced
        if earlier is None:
            _let_replace(data, undo)
        _assign(data, action, slot, undo)
        place = "action"
    covered = _animated(earlier, data.action_slot, curves.names) if users_own else ()
    return Written(action.name, place, replaced, covered, edited=edited, left=left, moved=moved, bare=bare)


def withdraw(keys: bpy.types.Key | None, first: float, last: float, undo: ExitStack) -> str:
    """Let no lip sync play on `keys` in the frames `first` to `last`; returns the action that is kept, "" for none.

    Actions of earlier bakes are kept; in one that has curves of the user's, too, only ours are muted.
    """
    data = keys.animation_data if keys is not None else None
    if data is None:
        return ""
    replaced = nla_strips.clear(data, first, last, undo)
    action, slot = data.action, data.action_slot
    if action is None or ids.MARK not in action or not _meet(nla_strips.spoken(action, slot), (first, last)):
        return replaced
    if slot is not None and not animation.is_bake(action, slot):
        return replaced  # another head's
    if is_ours(action) and not animation.own_curves(action, slot):
        _assign(data, None, None, undo)
        return nla_strips.keep(action, undo)
    if slot is not None:  # or nothing of it plays
        action = single_user.make(keys, action, slot, undo)
        _mute(_brought(action, slot), True, undo)
    return str(action.name)


def _take_along(data: bpy.types.AnimData, bag: Any, span: tuple[float, float] | None) -> None:
    """Copy to `bag` what the user animates in the assigned bake, which loses its place: he keyed it there as it played.

    span: first and last frame of the strip that the new bake becomes, which may not grow into those of other lines.
    """
    there = keyframes.curves_of(bag)
    for fcurve in animation.own_curves(data.action, data.action_slot):
        if fcurve.data_path not in there and (span is None or _has_room(data, span, fcurve.range())):
            keyframes.copy(fcurve, bag)


def _has_room(data: bpy.types.AnimData, span: tuple[float, float], more: tuple[float, float]) -> bool:
    """Whether a strip in the frames `span`, which takes the place of others there, meets no others if it has `more`."""
    both = min(span[0], more[0]), max(span[1], more[1])
    return nla_strips.in_the_way(data, *both) == nla_strips.in_the_way(data, *span)


def _brought(action: bpy.types.Action, slot: Any) -> list[bpy.types.FCurve]:
    """The F-curves that a bake brought to an action that the user animates in, too; raises DamagedData."""
    if not animation.stored_curves(action):
        return []
    own = {fcurve.data_path for fcurve in animation.own_curves(action, slot)}
    fcurves = keyframes.curves_of(keyframes.bag_of(action, slot))
    return [fcurve for path, fcurve in fcurves.items() if path not in own]


def _unsilence(action: bpy.types.Action, slot: Any, undo: ExitStack) -> None:
    """Let curves play that a vertex cache, in whose place they come again, has muted."""
    silenced = _brought(action, slot)
    if silenced and all(fcurve.mute for fcurve in silenced):
        _mute(silenced, False, undo)


def _mute(fcurves: list[bpy.types.FCurve], mute: bool, undo: ExitStack) -> None:
    for fcurve in fcurves:
        undo.callback(setattr, fcurve, "mute", fcurve.mute)
        fcurve.mute = mute


def _write_into(keys: bpy.types.Key, curves: CurveSet, about: str, undo: ExitStack, keep_edits: bool) -> Written:
    """Put `curves` into the slot of the assigned Action; shape keys that the user animates there stay his."""
    data = keys.animation_data
    action = data.action
    if not action.is_editable:
        raise LipSyncError(f"The action “{action.name}” is linked from another file; make it local first.")
    if data.action_slot is None:
        fitting = sorted(data.action_suitable_slots, key=lambda slot: single_user.is_shared(keys, action, slot))
        slot = fitting[0] if fitting else action.slots.new(id_type="KEY", name=keys.user.name)
        if not fitting:
            undo.callback(action.slots.remove, slot)
        _assign(data, action, slot, undo)
    action = single_user.make(keys, action, data.action_slot, undo)
    slot = data.action_slot
    if ids.MARK in action and not animation.is_bake(action, slot):
        raise LipSyncError(f"“{action.name}” holds the lip sync of another head; give this head an action of its own.")
    try:
        animation.stored_curves(action)
    except DamagedData as error:
        raise LipSyncError(
            f"What “{action.name}” remembers of its last lip sync is damaged, so keys that you edited cannot be told "
            "from it; unlink it in the Shape Key Editor and generate again, it stays as it is."
        ) from error
    _remember(action, slot, undo)
    if ids.MARK not in action:
        action[ids.GUEST] = slot.handle
    before = Bake(keys, action, slot)
    move, rate = _moved(before, about, curves.fps) if ids.WRITTEN in action else (None, 1.0)
    moved = move is not None and _begins_elsewhere(before, _span(curves, about))
    if keep_edits and ids.WRITTEN in action and not _same_keys(action, about) and animation.hand_edits(before):
        raise LipSyncError(
            f"The lip sync in “{action.name}” was edited by hand on other shape keys than the new one has; choose Drop "
            "for hand edits, or push that action down."
        )
    replaced = ""
    if ids.WRITTEN in action and not _same_recording(before, about):
        copy = action.copy()  # the same speech can be had again, another not
        undo.callback(bpy.data.actions.remove, copy)
        replaced = nla_strips.keep(copy, undo)
    _unsilence(action, slot, undo)
    animation.follow_names(before, curves.names)
    edited = animation.rewrite(before, curves, keep_edits=keep_edits, move=move, rate=rate)
    action[ids.MARK] = about
    return Written(action.name, f"slot “{slot.name_display}”", replaced, edited=edited, moved=moved)


def _remember(action: bpy.types.Action, slot: Any, undo: ExitStack) -> None:
    """Teach `undo` the marks of `action`, and all F-curves in `slot`, as they are now."""
    marks = {mark: action[mark] for mark in ids.MARKS if mark in action}
    fcurves = keyframes.curves_of(keyframes.bag_of(action, slot))
    kept = {path: (keyframes.read(fcurve), keyframes.modifiers_of(fcurve)) for path, fcurve in fcurves.items()}

    def restore() -> None:
        for mark in ids.MARKS:
            if mark in marks:
                id_bytes.store(action, mark, marks[mark])
            elif mark in action:
                del action[mark]
        bag = keyframes.make_bag(action, slot)
        for path, fcurve in keyframes.curves_of(bag).items():
            if path not in kept:
                bag.fcurves.remove(fcurve)
        there = keyframes.curves_of(bag)
        for path, (points, modifiers) in kept.items():
            keyframes.write(there[path] if path in there else bag.fcurves.new(path), points)
            if path in there:
                keyframes.time_modifiers(there[path], modifiers)

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


def _displaced(keys: bpy.types.Key, span: tuple[float, float], about: str) -> Iterator[Bake]:
    """The bakes whose place the new one takes, and whose hand edits: of the same speech, or in the frames `span`.

    Edits of one on other shape keys mean other shapes, and stay with it.
    """
    first, last = span
    data = keys.animation_data
    strips = nla_strips.in_the_way(data, first, last) + nla_strips.given_way(data, first, last)
    crossed = [strip.action for strip in strips]
    for bake in animation.bakes(keys):
        if not is_ours(bake.action) or not animation.stored_names(bake.action):
            continue
        at_this_time = _meet(nla_strips.spoken(bake.action, bake.slot), span)
        if bake.action in crossed or (bake.strip is None and (at_this_time or _same_speech(bake, about))):
            yield bake


def _same_keys(action: bpy.types.Action, about: str) -> bool:
    """Whether the bake in `action` is on the set of shape keys that the new one is on: ARKit's, or a set of its own."""
    old, new = (facts.get("keys", "ARKIT") for facts in (stored_result.description(action), json.loads(about)))
    return bool(old == new)


def _same_speech(bake: Bake, about: str) -> bool:
    old, new = stored_result.description(bake.action), json.loads(about)
    return "speech" in new and old.get("speech") == new["speech"]


def _same_recording(bake: Bake, about: str) -> bool:
    """Whether it is the same speech and as long: a file of another folder may have the name."""
    try:
        old, new = (
            sorted({round(piece.length, 1) for piece in from_plain(facts["pieces"], _ANY)})
            for facts in (stored_result.description(bake.action), json.loads(about))
        )
    except (KeyError, DamagedData):
        return False
    return old == new and _same_speech(bake, about)


def _moved(origin: Bake | None, about: str, fps: float) -> tuple[Move | None, float]:
    """Where hand edits go when the same speech is heard elsewhere, or the scene has another rate (Hz)."""
    if origin is None:
        return None, 1.0
    try:
        if not _same_speech(origin, about):
            return None, 1.0
        old, new = stored_result.description(origin.action), json.loads(about)
        before, after = (from_plain(facts["pieces"], _ANY) for facts in (old, new))
        rate = fps / float(old["fps"])
    except (ValueError, KeyError, TypeError, ZeroDivisionError, DamagedData):
        return None, 1.0
    if before == after and rate == 1.0:
        return None, 1.0
    if {piece.mark for piece in before}.isdisjoint(piece.mark for piece in after):  # strips of another bake
        before, after = (tuple(replace(piece, mark="") for piece in pieces) for pieces in (before, after))
    return (lambda frames: follow(before, after, frames)), rate


def _begins_elsewhere(bake: Bake, span: tuple[float, float]) -> bool:
    return abs(nla_strips.spoken(bake.action, bake.slot)[0] - span[0]) > 0.5


def _span(curves: CurveSet, about: str) -> tuple[float, float]:
    """Frames between which the speech of a new bake is heard."""
    return stored_result.spoken(json.loads(about)) or curves.frame_range


def _meet(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return one[0] < other[1] and one[1] > other[0]


def _assign(data: bpy.types.AnimData, action: Any | None, slot: Any | None, undo: ExitStack) -> None:
    """Assign an Action and its slot: Blender never chooses the slot of a new Action by itself."""
    undo.callback(single_user.exchange, data, data.action, data.action_slot)
    single_user.exchange(data, action, slot)


def _let_replace(data: bpy.types.AnimData, undo: ExitStack) -> None:
    """Let what is assigned next replace what lies beneath, for good: how it is blended is left from another action."""
    for name, value in _REPLACING.items():
        undo.callback(setattr, data, name, getattr(data, name))
        setattr(data, name, value)


def _animated(action: bpy.types.Action, slot: Any | None, names: tuple[str, ...]) -> tuple[str, ...]:
    """Those of the shape keys `names` whose value `action` animates in `slot`."""
    fcurves = keyframes.curves_of(keyframes.bag_of(action, slot) if slot else None)
    paths = {path for path, fcurve in fcurves.items() if not fcurve.mute}
    return tuple(name for name in names if value_path(name) in paths)
