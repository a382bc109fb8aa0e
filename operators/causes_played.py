# SPDX-License-Identifier: GPL-3.0-or-later
"""Causes that lie in the animation: no action, no slot, tracks and curves that are off, others that play on top."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any

import bpy

from . import keyframes, nla_strips
from .causes import Cause, Face, listed
from .kept_strips import KeptStrip
from .keyframes import value_path
from .nla_strips import is_ours
from .playing import Part, curves_in, is_frozen, spare_parts

_NOTHING = (0.0, 1.0)  # frames of an action with several slots that a new strip plays, as it has none of them yet


def _spoils(blend: str) -> bool:
    """Whether an action that is blended so moves nothing where nothing lies beneath it.

    It meets the value that shape keys have by default then: 0, of which there is nothing to take or to multiply, and 1
    in Blender 5.0, to which nothing can be added.
    """
    default = bpy.types.ShapeKey.bl_rna.properties["value"].default
    return blend in ("SUBTRACT", "ADD" if default else "MULTIPLY")


def unassigned(face: Face) -> Iterator[Cause]:
    """The lip sync is in the file but has no place in the animation of the shape keys."""
    if face.keys is None or face.parts or face.cache is not None:
        return
    data, meta = face.keys.animation_data, nla_strips.around(face.keys)
    if meta:
        yield Cause("meta", meta, f"its strip lies in the meta strip “{meta}”, which nobody looks into; ungroup it")
        return
    spare = spare_parts(face.keys)
    if not spare:
        clause = "there is no lip sync on it; click Generate Lip Sync"
        yield Cause("nothing", "", clause)
        return
    part = spare[-1]
    if data is None or data.action is None:
        clause = f"its action “{part.action.name}” is not assigned; assign it"
        yield Cause("unassigned", part.action.name, clause, "Assign", partial(_assign, face.keys, part), face.keys)
    else:
        clause = f"the action “{data.action.name}” is in the place of “{part.action.name}”; play both"
        mend = partial(_play_beneath, data, part)
        yield Cause("displaced", part.action.name, clause, "Play Both", mend, face.keys)


def wrong_slot(face: Face) -> Iterator[Cause]:
    """An action animates through the slot that is assigned with it."""
    for part in face.parts:
        holder = part.strip if part.strip is not None else face.keys and face.keys.animation_data
        if holder is not None and holder.action_slot != part.slot:
            none = holder.action_slot is None
            clause = f"the action “{part.action.name}” plays {'no slot' if none else 'another slot'}; assign its own"
            mend = partial(_set_slot, holder, part.slot)
            yield Cause("slot", part.action.name, clause, "Assign Slot", mend, face.keys)


def switched_off(face: Face) -> Iterator[Cause]:
    """Curves, strips, tracks or the whole NLA."""
    data = face.keys and face.keys.animation_data
    if not data:
        return
    for part in face.parts:
        off = [name for name, curve in part.curves.items() if curve.mute or (curve.group and curve.group.mute)]
        if off:
            clause = f"the curves of {listed(off)} are muted in “{part.action.name}”; unmute them"
            yield Cause("curve_muted", part.action.name, clause, "Unmute", partial(_unmute, part), part.action)
        if part.strip is None:
            if data.nla_tracks and data.use_nla and data.action_influence < 0.05:
                clause = "its action has no influence; give it all"
                mend = partial(setattr, data, "action_influence", 1.0)
                yield Cause("influence", part.action.name, clause, "Full Influence", mend, face.keys)
            if data.nla_tracks and data.use_nla and _spoils(data.action_blend_type):
                clause = "its action changes what lies beneath instead of replacing it; let it replace that"
                mend = partial(setattr, data, "action_blend_type", "REPLACE")
                yield Cause("blend", part.action.name, clause, "Replace", mend, face.keys)
            continue
        yield from _strip_off(data, part.track, part.strip)
    if data.nla_tracks and not data.use_nla and any(part.strip for part in face.parts):
        clause = "its animation tracks are switched off; enable them in the nonlinear animation editor"
        yield Cause("nla_off", "", clause, "Enable", partial(setattr, data, "use_nla", True), face.keys)
    solo = [track for track in data.nla_tracks if track.is_solo]
    if solo and any(part.track is None or not part.track.is_solo for part in face.parts):
        clause = f"another animation track, “{solo[0].name}”, is soloed; unstar it in the nonlinear animation editor"
        yield Cause("solo", solo[0].name, clause, "Unstar", partial(_unstar, data, solo[0]), face.keys)


def _strip_off(data: bpy.types.AnimData, track: Any, strip: Any) -> Iterator[Cause]:
    keys = data.id_data
    if track.mute and not track.is_solo:
        clause = f"its animation track “{track.name}” is muted; unmute it"
        yield Cause("track_muted", track.name, clause, "Unmute", partial(setattr, track, "mute", False), keys)
    if strip.mute:
        clause = f"its animation strip “{strip.name}” is muted; unmute it"
        yield Cause("strip_muted", strip.name, clause, "Unmute", partial(setattr, strip, "mute", False), keys)
    if strip.use_animated_influence and strip.influence < 0.05 and not _grows(strip):
        clause = f"its animation strip “{strip.name}” has no influence; give it all"
        mend = partial(setattr, strip, "use_animated_influence", False)
        yield Cause("influence", strip.name, clause, "Full Influence", mend, keys)
    if is_frozen(strip):
        clause = f"the time of its animation strip “{strip.name}” stands still; let it play without keys for that"
        yield Cause("frozen", strip.name, clause, "Play", partial(setattr, strip, "use_animated_time", False), keys)
    if strip.extrapolation == "NOTHING" and not nla_strips.is_held(data, strip):
        clause = f"before and after its strip “{strip.name}” nothing holds the mouth at rest; let the strip hold it"
        mend = partial(setattr, strip, "extrapolation", "HOLD")
        yield Cause("extrapolation", strip.name, clause, "Hold", mend, keys, playback=True)
    if strip.extrapolation != "NOTHING" and strip.blend_type == "REPLACE" and nla_strips.is_held(data, strip):
        clause = f"its strip “{strip.name}” silences the lines beneath before and after its own; let it play that alone"
        mend = partial(setattr, strip, "extrapolation", "NOTHING")
        yield Cause("silences", strip.name, clause, "Its Own Alone", mend, keys, playback=True)


def tweaked(face: Face) -> Iterator[Cause]:
    """While a strip is tweaked, what lies above it is not played."""
    data = face.keys and face.keys.animation_data
    if data and data.use_tweak_mode:
        clause = "one of its animation strips is being tweaked; leave tweak mode"
        yield Cause("tweak", "", clause, "Leave", partial(setattr, data, "use_tweak_mode", False), face.keys)


def covered(face: Face) -> Iterator[Cause]:
    """Another action plays on top and replaces what the lip sync says."""
    data = face.keys and face.keys.animation_data
    strips = [part for part in face.parts if part.strip is not None]
    if not data or not strips:
        return
    ours = {part.action for part in strips}
    names = tuple(dict.fromkeys(name for part in strips for name in part.curves))
    active = data.action
    if active is not None and active not in ours and data.action_blend_type == "REPLACE" and data.action_influence > 0:
        yield from _on_top(active, data.action_slot, names)
    tracks = list(data.nla_tracks)
    for above, track in enumerate(tracks):
        below = [part for part in strips if tracks.index(part.track) < above]
        for strip in track.strips if below and not track.mute else ():
            if strip.action is None or strip.action in ours or strip.mute or strip.blend_type != "REPLACE":
                continue
            hidden = [part for part in below if _reaches(strip, *part.frame_range)]
            names = tuple(dict.fromkeys(name for part in hidden for name in part.curves))
            yield from _on_top(strip.action, strip.action_slot, names)


def driven(face: Face) -> Iterator[Cause]:
    """A driver wins over the animation."""
    data = face.keys and face.keys.animation_data
    if not data:
        return
    paths = {value_path(name): name for name in face.names}
    drivers = [curve for curve in data.drivers if curve.data_path in paths and not curve.mute]
    if drivers:
        names = [paths[curve.data_path] for curve in drivers]
        clause = f"drivers move its shape keys {listed(names)}; mute them"
        yield Cause("driver", names[0], clause, "Mute Drivers", partial(_mute_all, drivers), face.keys)


def lost(face: Face) -> Iterator[Cause]:
    """Curves whose shape key was deleted."""
    for part in face.parts:
        if not is_ours(part.action):
            continue
        curves = list(curves_in(part.action, part.slot))
        gone = [
            curve.data_path.split('"')[1] for curve in curves if '"' in curve.data_path and not _resolves(face, curve)
        ]
        if gone:
            clause = f"its shape keys {listed(gone)} are gone; generate the lip sync again"
            yield Cause("gone", part.action.name, clause)


CHECKS = (unassigned, wrong_slot, switched_off, tweaked, covered, driven, lost)


def _resolves(face: Face, curve: bpy.types.FCurve) -> bool:
    assert face.keys is not None
    try:
        face.keys.path_resolve(curve.data_path)
    except ValueError:
        return False
    return True


def _on_top(action: bpy.types.Action, slot: Any, names: tuple[str, ...]) -> Iterator[Cause]:
    paths = {value_path(name): name for name in names}
    curves = [curve for curve in curves_in(action, slot) if curve.data_path in paths and not curve.mute]
    if curves:
        which = listed([paths[curve.data_path] for curve in curves])
        clause = f"the action “{action.name}” plays on top of it and animates {which}; mute those curves"
        yield Cause("covered", action.name, clause, "Mute Those Curves", partial(_mute_all, curves), action)


def _reaches(strip: Any, first: float, last: float) -> bool:
    """Whether `strip` has a say on frames `first`…`last`."""
    begins = -float("inf") if strip.extrapolation == "HOLD" else strip.frame_start
    ends = strip.frame_end if strip.extrapolation == "NOTHING" else float("inf")
    return bool(begins < last and ends > first)


def _grows(strip: Any) -> bool:
    """Whether the influence of `strip` is animated to more than nothing."""
    points = [
        point.co.y for curve in strip.fcurves if curve.data_path == "influence" for point in curve.keyframe_points
    ]
    return max(points, default=0.0) >= 0.05


def _assign(keys: bpy.types.Key, part: Part) -> None:
    data = keys.animation_data or keys.animation_data_create()
    data.action = part.action
    data.action_slot = part.slot


def _play_beneath(data: bpy.types.AnimData, part: Part) -> None:
    """As a bake does where another action is assigned: by a strip beneath it."""
    nla_strips.place(data, part.action, part.slot, ExitStack())


def _set_slot(holder: Any, slot: Any) -> None:
    holder.action_slot = slot
    if isinstance(holder, bpy.types.NlaStrip) and (holder.action_frame_start, holder.action_frame_end) == _NOTHING:
        later = holder.frame_start - keyframes.span(holder.action, slot)[0]
        KeptStrip.whole(holder.action, slot, {}, later).take_place(holder)


def _unstar(data: bpy.types.AnimData, track: bpy.types.NlaTrack) -> None:
    track.is_solo = False
    # Blender (4.5 to 5.2) does not evaluate the tracks again until an action is assigned.
    action, slot = data.action, data.action_slot
    data.action = action
    if slot is not None:
        data.action_slot = slot


def _unmute(part: Part) -> None:
    for curve in part.curves.values():
        curve.mute = False
        if curve.group is not None:
            curve.group.mute = False


def _mute_all(curves: list[bpy.types.FCurve]) -> None:
    for curve in curves:
        curve.mute = True
