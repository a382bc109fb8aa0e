# SPDX-License-Identifier: GPL-3.0-or-later
"""NLA strips of bakes: in a track of our own, above the tracks that were there when it was made.

Blender makes new tracks on top, and strips that hold cover what lies below at every frame. What the user animates there
is left to him (`animation.users_below`); his active action, and tracks that he makes later, play above ours.

On a library override Blender saves no strip that was added to a track of the library's, or taken out of it. There the
track is a second one above the library's, and strips of the library's give way by being muted.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import bpy

from . import ids, keyframes

_SETTINGS = (
    "name", "extrapolation", "blend_type", "blend_in", "blend_out", "use_auto_blend", "influence",
    "use_animated_influence", "mute", "select",
)  # fmt: skip
_PLACE = ("action_frame_start", "action_frame_end", "scale", "repeat", "frame_start", "frame_end")


def is_ours(action: bpy.types.Action) -> bool:
    """Whether a bake made `action`; false for an action of the user's that holds a bake among his own curves."""
    return ids.MARK in action and ids.GUEST not in action


def track_of(data: bpy.types.AnimData) -> bpy.types.NlaTrack | None:
    """The track in which bakes of this file lie, if there is one."""
    tracks = [track for track in _tracks(data) if not track.is_override_data]
    return tracks[-1] if tracks else None


def of_library(data: bpy.types.AnimData) -> list[bpy.types.NlaStrip]:
    """Strips of bakes that a library override has from its library."""
    return [strip for track in _tracks(data) if track.is_override_data for strip in track.strips]


def gave_way(data: bpy.types.AnimData, strip: bpy.types.NlaStrip) -> bool:
    """Whether a strip of the library's was muted for a bake of this file, which plays in its place."""
    if not strip.mute or strip not in of_library(data):
        return False
    assigned = data.action is not None and is_ours(data.action)
    return assigned or bool(in_the_way(data, strip.frame_start, strip.frame_end))


def in_the_way(data: bpy.types.AnimData, first: float, last: float) -> list[bpy.types.NlaStrip]:
    """Strips of earlier bakes that touch the frames `first` to `last`."""
    track = track_of(data)
    strips = track.strips if track else ()
    return [strip for strip in strips if strip.frame_start < last + 1 and strip.frame_end > first - 1]


def place(data: bpy.types.AnimData, action: bpy.types.Action, slot: Any, undo: ExitStack) -> str:
    """Put `action` into our track, in place of earlier bakes where they overlap; returns what it replaced."""
    first, last = action.frame_range
    replaced = clear(data, first, last, undo)
    track = track_of(data)
    if track is None:
        track = data.nla_tracks.new()
        undo.callback(data.nla_tracks.remove, track)
        track.name = ids.TRACK
    strip = track.strips.new(action.name, int(first), action)
    undo.callback(track.strips.remove, strip)
    strip.action_slot = slot
    # Outside of strips that hold nothing, Blender 5.0 takes 1 for the resting value of a shape key.
    strip.extrapolation = "NOTHING" if rests_beneath(data, strip) else "HOLD"
    return replaced


def rests_beneath(data: bpy.types.AnimData, strip: bpy.types.NlaStrip) -> bool:
    """Whether lines of the library's, which `strip` would cover if it held, hold all that it animates."""
    held: set[str] = set()
    for other in of_library(data):
        if other.extrapolation == "HOLD" and not other.mute and other != strip:
            held |= _paths(other)
    return bool(held) and _paths(strip) <= held


def clear(data: bpy.types.AnimData, first: float, last: float, undo: ExitStack) -> str:
    """Take away strips of earlier bakes that touch the frames `first` to `last`; returns the last one, "" for none."""
    track, replaced = track_of(data), ""
    for strip in in_the_way(data, first, last):
        assert track is not None
        replaced = keep(strip.action, undo)
        undo.callback(_put_back, track, _Kept.of(track, strip), {name: getattr(strip, name) for name in _PLACE})
        track.strips.remove(strip)
    for strip in given_way(data, first, last):
        replaced = str(strip.action.name)
        undo.callback(setattr, strip, "mute", strip.mute)
        strip.mute = True
    return replaced


def given_way(data: bpy.types.AnimData, first: float, last: float) -> list[bpy.types.NlaStrip]:
    """Strips of the library's that play in the frames `first` to `last`, and make room for a bake of this file."""
    return [
        strip
        for strip in of_library(data)
        if not strip.mute and strip.frame_start < last + 1 and strip.frame_end > first - 1
    ]


def follow(strip: bpy.types.NlaStrip, before: tuple[float, float], after: tuple[float, float]) -> None:
    """Let a strip that played all of its action, frames `before`, play all of it again, frames `after`.

    What stays of the action keeps its place on the timeline.
    """
    if abs(strip.action_frame_start - before[0]) < 0.5 and after[0] != strip.action_frame_start:
        start = strip.frame_start + (after[0] - strip.action_frame_start) * strip.scale
        strip.action_frame_start = after[0]
        strip.frame_start = start
    if abs(strip.action_frame_end - before[1]) < 0.5:
        strip.action_frame_end = after[1]


def lay_anew(data: bpy.types.AnimData, strips: Sequence[bpy.types.NlaStrip]) -> None:
    """Let `strips` play all of their actions, whose keys have moved, still as far from the action's own frames.

    They are made anew, since Blender lets no strip pass another; settings and animated influence are carried over. One
    that finds its place taken goes to a track above.
    """
    found = [(track, strip) for track in data.nla_tracks for strip in track.strips if strip in strips]
    kept = [_Kept.of(track, strip) for track, strip in found]
    for track, strip in found:
        track.strips.remove(strip)
    for one in sorted(kept, key=lambda one: one.start):
        first, last = one.start, one.start + one.action.frame_range[1] - one.action.frame_range[0]
        track = one.track
        if any(other.frame_start < last + 1 and other.frame_end > first - 1 for other in track.strips):
            track = data.nla_tracks.new(prev=track)
            track.name = ids.TRACK
        one.restore(track)


def _put_back(track: bpy.types.NlaTrack, kept: _Kept, place: dict[str, float]) -> None:
    strip = kept.restore(track)
    for name, value in place.items():
        setattr(strip, name, value)


@dataclass(frozen=True)
class _Kept:
    """What a strip was set to; its action plays `later` frames later than its keys say."""

    track: bpy.types.NlaTrack
    action: bpy.types.Action
    slot: Any
    later: float
    settings: dict[str, Any]
    influence: list[tuple[float, float]]

    @staticmethod
    def of(track: bpy.types.NlaTrack, strip: bpy.types.NlaStrip) -> _Kept:
        later = strip.frame_start - strip.action_frame_start
        curve = strip.fcurves.find("influence") if strip.use_animated_influence else None
        keys = [(point.co.x, point.co.y) for point in curve.keyframe_points] if curve else []
        moved = strip.action.frame_range[0] - strip.action_frame_start
        return _Kept(
            track,
            strip.action,
            strip.action_slot,
            later,
            {name: getattr(strip, name) for name in _SETTINGS},
            [(frame + moved, value) for frame, value in keys],
        )

    @property
    def start(self) -> float:
        """Frame of the timeline at which the strip begins."""
        return float(self.action.frame_range[0] + self.later)

    def restore(self, track: bpy.types.NlaTrack) -> bpy.types.NlaStrip:
        """Make the strip in `track`."""
        strip = track.strips.new(self.settings["name"], int(self.start), self.action)
        strip.action_slot, strip.frame_start = self.slot, self.start
        for name, value in self.settings.items():
            setattr(strip, name, value)
        if self.influence:
            curve = strip.fcurves.find("influence")
            curve.keyframe_points.clear()
            for frame, value in self.influence:
                curve.keyframe_points.insert(frame, value)
        return strip


def keep(action: bpy.types.Action, undo: ExitStack) -> str:
    """Protect `action` from being lost on saving; returns its name."""
    undo.callback(setattr, action, "use_fake_user", action.use_fake_user)
    action.use_fake_user = True
    return str(action.name)


def _tracks(data: bpy.types.AnimData) -> list[bpy.types.NlaTrack]:
    """The tracks in which bakes lie."""
    return [track for track in data.nla_tracks if track.name.startswith(ids.TRACK) and _all_ours(track)]


def _paths(strip: bpy.types.NlaStrip) -> set[str]:
    """What `strip` animates."""
    slot = strip.action_slot
    return set(keyframes.curves_of(keyframes.bag_of(strip.action, slot) if slot else None))


def _all_ours(track: bpy.types.NlaTrack) -> bool:
    return all(strip.action is not None and is_ours(strip.action) for strip in track.strips)
