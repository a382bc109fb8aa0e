# SPDX-License-Identifier: GPL-3.0-or-later
"""The only place that knows Actions: slots, channelbags, F-curves in bulk, NLA strips.

A bake makes one new Action and never edits or deletes another. Actions of earlier bakes carry `ids.MARK`; they
lose their place to the new one and are kept with a fake user.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import bpy
import numpy as np

from ..inference import CurveSet
from . import ids


@dataclass(frozen=True)
class Written:
    """What a bake wrote: name of its Action, where it plays, and the earlier bake that it replaced ("" if none).

    covered: shape keys that the user's own action, which plays on top, animates too.
    """

    action: str
    place: str
    replaced: str
    covered: tuple[str, ...]


def write(keys: bpy.types.Key, curves: CurveSet, name: str, to_nla: bool, about: str, undo: ExitStack) -> Written:
    """Animate the values of `keys` by a new Action called `name`, assigned or as an NLA strip.

    Another action that is assigned keeps playing; ours then goes to a strip, whatever `to_nla` says. `about` is
    stored with the Action. `undo` learns how to take everything back.
    """
    if keys.animation_data is None:
        undo.callback(keys.animation_data_clear)
        keys.animation_data_create()
    data = keys.animation_data
    action, slot = _new_action(keys, curves, name, about, undo)
    earlier = data.action
    users_own = earlier is not None and not is_ours(earlier)
    replaced = ""
    if earlier is not None and not users_own:
        replaced = _keep(earlier, undo)
        _assign(data, None, None, undo)
    if to_nla or users_own:
        replaced = _place_strip(data, action, slot, undo) or replaced
        place = f"NLA track “{ids.TRACK}”"
    else:
        _assign(data, action, slot, undo)
        place = "action"
    covered = _animated(keys, earlier, data.action_slot, curves.names) if users_own else ()
    return Written(action.name, place, replaced, covered)


def is_ours(action: bpy.types.Action) -> bool:
    """Whether an earlier bake made `action`."""
    return ids.MARK in action


def value_path(name: str) -> str:
    """RNA path of a shape key's value from its Key datablock."""
    return f'key_blocks["{bpy.utils.escape_identifier(name)}"].value'


def _new_action(
    keys: bpy.types.Key, curves: CurveSet, name: str, about: str, undo: ExitStack
) -> tuple[bpy.types.Action, Any]:
    action = bpy.data.actions.new(name)
    undo.callback(bpy.data.actions.remove, action)
    action[ids.MARK] = about
    slot = action.slots.new(id_type="KEY", name=keys.user.name)
    strip = action.layers.new("Layer").strips.new(type="KEYFRAME")
    bag = strip.channelbag(slot, ensure=True)
    group = bag.groups.new(ids.TRACK)
    for key_name, (frames, values) in zip(curves.names, curves.keys, strict=True):
        fcurve = bag.fcurves.new(value_path(key_name))
        fcurve.group = group
        _fill(fcurve, frames, values)
    return action, slot


def _fill(fcurve: bpy.types.FCurve, frames: np.ndarray, values: np.ndarray) -> None:
    """Keys at `frames` with `values`, both (n,): straight from key to key, with handles ready for Bézier."""
    points = fcurve.keyframe_points
    points.add(len(frames))
    points.foreach_set("co", np.column_stack([frames, values]).astype(np.float32).ravel())
    for attribute, choice in (
        ("interpolation", "LINEAR"),
        ("handle_left_type", "AUTO_CLAMPED"),
        ("handle_right_type", "AUTO_CLAMPED"),
        ("type", "GENERATED"),
    ):
        number = bpy.types.Keyframe.bl_rna.properties[attribute].enum_items[choice].value
        points.foreach_set(attribute, np.full(len(frames), number, np.int32))
    fcurve.update()


def _assign(data: bpy.types.AnimData, action: Any | None, slot: Any | None, undo: ExitStack) -> None:
    """Assign an Action and its slot: Blender never chooses the slot of a new Action by itself."""
    undo.callback(_set_action, data, data.action, data.action_slot)
    _set_action(data, action, slot)


def _set_action(data: bpy.types.AnimData, action: Any | None, slot: Any | None) -> None:
    data.action = action
    if action is not None and slot is not None:
        data.action_slot = slot


def _keep(action: bpy.types.Action, undo: ExitStack) -> str:
    """Protect `action` from being lost on saving; returns its name."""
    undo.callback(setattr, action, "use_fake_user", action.use_fake_user)
    action.use_fake_user = True
    return str(action.name)


def _place_strip(data: bpy.types.AnimData, action: bpy.types.Action, slot: Any, undo: ExitStack) -> str:
    """Put `action` into our NLA track, in place of earlier bakes where they overlap; returns what it replaced."""
    first, last = action.frame_range
    tracks = [track for track in data.nla_tracks if track.name.startswith(ids.TRACK) and _all_ours(track)]
    if tracks:
        track = tracks[-1]
    else:
        track = data.nla_tracks.new()
        undo.callback(data.nla_tracks.remove, track)
        track.name = ids.TRACK
    replaced = ""
    for strip in list(track.strips):
        if strip.frame_start < last + 1 and strip.frame_end > first - 1:
            replaced = _keep(strip.action, undo)
            undo.callback(_restore_strip, track, strip.action, strip.action_slot, strip.frame_start)
            track.strips.remove(strip)
    strip = track.strips.new(action.name, int(first), action)
    undo.callback(track.strips.remove, strip)
    strip.action_slot = slot
    # Outside of strips that hold nothing, Blender 5.0 takes 1 for the resting value of a shape key.
    strip.extrapolation = "HOLD"
    return replaced


def _restore_strip(track: bpy.types.NlaTrack, action: bpy.types.Action, slot: Any, start: float) -> None:
    strip = track.strips.new(action.name, int(start), action)
    strip.action_slot, strip.frame_start, strip.extrapolation = slot, start, "HOLD"


def _all_ours(track: bpy.types.NlaTrack) -> bool:
    return all(strip.action is not None and is_ours(strip.action) for strip in track.strips)


def _animated(
    keys: bpy.types.Key, action: bpy.types.Action, slot: Any | None, names: tuple[str, ...]
) -> tuple[str, ...]:
    """Those of the shape keys `names` whose value `action` animates in `slot`."""
    bags = [strip.channelbag(slot) for layer in action.layers for strip in layer.strips] if slot else []
    paths = {fcurve.data_path for bag in bags if bag for fcurve in bag.fcurves}
    return tuple(name for name in names if value_path(name) in paths)
