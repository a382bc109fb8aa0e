# SPDX-License-Identifier: GPL-3.0-or-later
"""NLA strips of bakes: in a track of our own, beneath whatever else plays."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import bpy

from . import ids


def is_ours(action: bpy.types.Action) -> bool:
    """Whether a bake made `action`; false for an action of the user's that holds a bake among his own curves."""
    return ids.MARK in action and ids.GUEST not in action


def track_of(data: bpy.types.AnimData) -> bpy.types.NlaTrack | None:
    """The track in which bakes lie, if there is one."""
    tracks = [track for track in data.nla_tracks if track.name.startswith(ids.TRACK) and _all_ours(track)]
    return tracks[-1] if tracks else None


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
    strip.extrapolation = "HOLD"
    return replaced


def clear(data: bpy.types.AnimData, first: float, last: float, undo: ExitStack) -> str:
    """Take away strips of earlier bakes that touch the frames `first` to `last`; returns the last one, "" for none."""
    track, replaced = track_of(data), ""
    for strip in in_the_way(data, first, last):
        assert track is not None
        replaced = keep(strip.action, undo)
        undo.callback(_restore, track, strip.action, strip.action_slot, strip.frame_start)
        track.strips.remove(strip)
    return replaced


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


def keep(action: bpy.types.Action, undo: ExitStack) -> str:
    """Protect `action` from being lost on saving; returns its name."""
    undo.callback(setattr, action, "use_fake_user", action.use_fake_user)
    action.use_fake_user = True
    return str(action.name)


def _restore(track: bpy.types.NlaTrack, action: bpy.types.Action, slot: Any, start: float) -> None:
    strip = track.strips.new(action.name, int(start), action)
    strip.action_slot, strip.frame_start, strip.extrapolation = slot, start, "HOLD"


def _all_ours(track: bpy.types.NlaTrack) -> bool:
    return all(strip.action is not None and is_ours(strip.action) for strip in track.strips)
