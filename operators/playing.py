# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the curves of a bake are, and whether they play: in the active action, in NLA strips, or nowhere."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import bpy

from . import ids
from .keyframes import value_path
from .nla_strips import gave_way, is_ours
from .single_user import is_shared


@dataclass(frozen=True)
class Part:
    """Lip-sync curves of one action for one mesh.

    curves: by the shape key whose value they animate. slot: the action's slot that holds them. strip, track: where
    they play in the NLA, None where they are in the active action or nowhere.
    """

    action: bpy.types.Action
    slot: Any
    curves: dict[str, bpy.types.FCurve]
    track: bpy.types.NlaTrack | None = None
    strip: bpy.types.NlaStrip | None = None

    @property
    def frame_range(self) -> tuple[float, float]:
        """First and last scene frame of the speech."""
        if self.strip is not None:
            return float(self.strip.frame_start), float(self.strip.frame_end)
        ranges = [curve.range() for curve in self.curves.values()]
        return min(first for first, _ in ranges), max(last for _, last in ranges)

    def value(self, name: str, frame: float) -> float:
        """What the curve of the shape key `name` says at a scene frame."""
        if self.strip is not None:
            frame = in_action(self.strip, frame)
        return float(self.curves[name].evaluate(frame))


def in_action(strip: bpy.types.NlaStrip, frame: float) -> float:
    """The frame of its action that `strip`, which may be stretched, repeated or reversed, plays at a scene frame."""
    length = strip.action_frame_end - strip.action_frame_start
    if strip.use_animated_time:
        curve = _time_curve(strip)
        time = float(curve.evaluate(frame) if curve is not None else strip.strip_time)
        # So does Blender: frames of a cycle are counted from 0, wherever in the action it begins.
        return math.fmod(time - strip.action_frame_start, length) if strip.use_animated_time_cyclic else time
    played = (min(max(frame, strip.frame_start), strip.frame_end) - strip.frame_start) / strip.scale
    if played > length - 1e-3 > 0:
        again = (played + 1e-3) % length - 1e-3
        # The last end is played, the ones before it are beginnings.
        played = length if again < 1e-3 and frame >= strip.frame_end else again
    return float(strip.action_frame_start + (length - played if strip.use_reverse else played))


def _time_curve(strip: bpy.types.NlaStrip) -> bpy.types.FCurve | None:
    """What the animator keyed for Strip Time, if anything."""
    curve = strip.fcurves.find("strip_time")
    return None if curve is None or curve.is_empty else curve


def is_frozen(strip: bpy.types.NlaStrip) -> bool:
    """Whether `strip` plays one frame of its action alone, as it does once its time is to be animated and is not."""
    curve = _time_curve(strip)
    still = curve is None or (not curve.modifiers and len({point.co.y for point in curve.keyframe_points}) == 1)
    return strip.use_animated_time and still


def parts_of(keys: bpy.types.Key | None) -> list[Part]:
    """Lip sync that has its place in the animation of `keys`, whether or not something hides it.

    A strip of the library's that gave way to a bake of this file has none.
    """
    data = keys.animation_data if keys else None
    if data is None:
        return []
    assert keys is not None
    found = []
    if data.action is not None:
        found += [Part(data.action, slot, curves) for slot, curves in _held_by(data.action, keys)][:1]
    for track in data.nla_tracks:
        for strip in track.strips:
            if strip.action is not None and not gave_way(data, strip):
                held = _held_by(strip.action, keys)
                held.sort(key=lambda pair, strip=strip: pair[0] != strip.action_slot)
                found += [Part(strip.action, slot, curves, track, strip) for slot, curves in held[:1]]
    return found


def plays(keys: bpy.types.Key | None, part: Part) -> bool:
    """Whether nothing in the NLA of `keys` silences `part`: a soloed track does all else, and plays even if muted."""
    data = keys.animation_data if keys else None
    if data is None:
        return False
    soloed = data.use_nla and any(track.is_solo for track in data.nla_tracks)
    if part.strip is None or part.track is None:
        return not soloed
    return data.use_nla and not part.strip.mute and (part.track.is_solo if soloed else not part.track.mute)


def spare_parts(keys: bpy.types.Key) -> list[Part]:
    """Lip sync of this file that was baked on `keys` and has no place in its animation; the latest last.

    It is told by the name of its mesh, which another head may bear by now: what that one plays is not spare.
    """
    placed = {part.action for part in parts_of(keys)}
    actions = [action for action in bpy.data.actions if is_ours(action) and action not in placed]
    held = [(action, *pair) for action in actions for pair in _held_by(action, keys)]
    return [
        Part(action, slot, curves)
        for action, slot, curves in held
        if slot.name_display == keys.user.name and not is_shared(keys, action, slot)
    ]


def played_names(keys: bpy.types.Key | None) -> frozenset[str]:
    """Shape keys that lip sync animates, as far as it has a place and its curves are not muted."""
    return frozenset(name for part in parts_of(keys) for name, curve in part.curves.items() if not curve.mute)


def curves_in(action: bpy.types.Action, slot: Any) -> Iterator[bpy.types.FCurve]:
    """All F-curves of `action` for `slot`."""
    for layer in action.layers:
        for strip in layer.strips:
            bag = strip.channelbag(slot) if slot is not None else None
            if bag is not None:
                yield from bag.fcurves


def _held_by(action: bpy.types.Action, keys: bpy.types.Key) -> list[tuple[Any, dict[str, bpy.types.FCurve]]]:
    """Slots of `action` with lip-sync curves for `keys`; most first, the one that `keys` use before others."""
    paths = {value_path(key.name): key.name for key in keys.key_blocks}
    found = []
    for slot in action.slots:
        if slot.target_id_type != "KEY":
            continue
        curves = {
            paths[curve.data_path]: curve
            for curve in curves_in(action, slot)
            if curve.data_path in paths and not curve.is_empty and _is_lip_sync(action, curve)
        }
        if curves:
            found.append((slot, curves))
    data = keys.animation_data
    used = data.action_slot if data is not None and data.action == action else None
    return sorted(found, key=lambda pair: (pair[0] != used, -len(pair[1])))


def _is_lip_sync(action: bpy.types.Action, curve: bpy.types.FCurve) -> bool:
    return is_ours(action) or (curve.group is not None and curve.group.name == ids.TRACK)
