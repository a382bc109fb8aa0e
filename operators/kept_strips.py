# SPDX-License-Identifier: GPL-3.0-or-later
"""NLA strips taken out of their tracks, to be made again with all that the animator set: none can pass another."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

import bpy
import numpy as np

from ..inference.hand_edits import Move, moved_keys
from . import keyframes
from .keyframes import Contents

# In this order: switching automatic blends off makes the others 0.
_BLENDING = ("blend_type", "use_auto_blend", "blend_in", "blend_out", "influence", "use_animated_influence")
_SETTINGS = (
    "name", "extrapolation", *_BLENDING, "use_animated_time", "use_animated_time_cyclic", "use_reverse",
    "use_sync_length", "mute", "select",
)  # fmt: skip
_PLACE = ("action_frame_start", "action_frame_end", "frame_start", "scale", "repeat", "frame_end")
_ANIMATED = {"influence": "use_animated_influence", "strip_time": "use_animated_time"}  # by paths of a strip's F-curves
_NARROW = 1e-4  # the least scale there is


@dataclass(frozen=True)
class KeptStrip:
    """A strip that can be made again.

    place: which part of its action it plays, and where. curves: what its own F-curves hold, by their paths.
    """

    action: bpy.types.Action
    slot: Any
    place: dict[str, float]
    settings: dict[str, Any]
    curves: dict[str, Contents] = field(default_factory=dict)

    @staticmethod
    def whole(action: bpy.types.Action, slot: Any, settings: dict[str, Any], later: float = 0.0) -> KeptStrip:
        """One that plays all that `slot` of `action` has keys for, so many frames later than they say."""
        first, last = keyframes.span(action, slot)
        last = max(last, first + 1)  # Blender makes no shorter strip of a single key
        places = first, last, first + later, 1.0, 1.0, last + later
        return KeptStrip(action, slot, dict(zip(_PLACE, places, strict=True)), settings)

    @staticmethod
    def of(strip: bpy.types.NlaStrip) -> KeptStrip:
        """`strip` as it is."""
        settings = {name: getattr(strip, name) for name in _SETTINGS}
        curves = {fcurve.data_path: Contents.of(fcurve) for fcurve in strip.fcurves}
        return KeptStrip(
            strip.action, strip.action_slot, {name: getattr(strip, name) for name in _PLACE}, settings, curves
        )

    def following(self, move: Move, rate: float) -> KeptStrip:
        """One that plays all of its action, whose keys went where `move` says; its own curves go with them.

        rate: how their handles stretch, as in `hand_edits.shifted`.
        """
        later = self.place["frame_start"] - self.place["action_frame_start"]
        whole = KeptStrip.whole(self.action, self.slot, self.settings, later)

        def on_timeline(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            goals, ways = move(frames - later)
            return goals + later, ways

        curves = {}
        for path, contents in self.curves.items():
            keys = moved_keys(contents.keys, on_timeline, rate)
            keys = moved_keys(keys, move, rate, axis=1) if path == "strip_time" else keys  # values: the action's frames
            modifiers = keyframes.moved_modifiers(contents.modifiers, on_timeline, rate)
            curves[path] = replace(contents, keys=keys, modifiers=modifiers)
        return replace(whole, curves=curves)

    def blended_as(self, other: KeptStrip, move: Move | None, rate: float) -> KeptStrip:
        """The same, blended with what lies beneath as `other` is, whose keyed influence goes where `move` says."""
        settings = {name: other.settings[name] for name in _BLENDING}
        moved = other if move is None else other.following(move, rate)
        curves = {path: contents for path, contents in moved.curves.items() if path == "influence"}
        return replace(self, settings=self.settings | settings, curves=curves)

    def playing(self, span: tuple[float, float]) -> KeptStrip:
        """One that plays these frames of the action, as far from them on the timeline as it was, and as fast."""
        first, last = span
        start = self.start + (first - self.place["action_frame_start"]) * self.place["scale"]
        end = start + (last - first) * self.place["scale"] * self.place["repeat"]
        times = {"action_frame_start": first, "action_frame_end": last, "frame_start": start, "frame_end": end}
        return replace(self, place=self.place | times)

    @property
    def start(self) -> float:
        """Frame of the timeline at which the strip begins."""
        return self.place["frame_start"]

    @property
    def end(self) -> float:
        """Frame of the timeline at which it ends."""
        return self.place["frame_end"]

    def restore(self, track: bpy.types.NlaTrack) -> bpy.types.NlaStrip:
        """Make the strip in `track`."""
        strip = self._make(track)
        for path, contents in self.curves.items():
            setattr(strip, _ANIMATED[path], True)  # which makes the F-curve; the settings have the last word
            contents.put(strip.fcurves.find(path))
        for name, value in self.settings.items():
            setattr(strip, name, value)
        return strip

    def _make(self, track: bpy.types.NlaTrack) -> bpy.types.NlaStrip:
        """The strip at its place, without settings.

        Blender makes a strip as long as all of its action, finds no room for that or pushes others away, and as soon as
        the action has several slots takes its first frame alone. So the strip begins with an empty action, a frame
        long.
        """
        empty = bpy.data.actions.new(self.settings["name"])
        strip = track.strips.new(self.settings["name"], math.ceil(self.start), empty)
        strip.action, strip.action_slot = self.action, self.slot
        bpy.data.actions.remove(empty)
        self.take_place(strip)
        return strip

    def take_place(self, strip: bpy.types.NlaStrip) -> None:
        """Let `strip`, which has the action and the slot, play what this one plays, where it does."""
        strip.scale = _NARROW  # long for a moment, it would push others away
        for name in ("action_frame_end", *_PLACE):  # first, since the beginning cannot pass it
            setattr(strip, name, self.place[name])
