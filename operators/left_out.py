# SPDX-License-Identifier: GPL-3.0-or-later
"""What an export leaves out of a lip sync: exporters write the scene's frames, and no scene begins before frame 0."""

from __future__ import annotations

import math

import bpy

from ..inference.curves import SETTLE
from . import vertex_cache
from .frames import frame_rate
from .playing import parts_of, plays

_WHOLE = 0.5  # frames of a movement that are worth a word


def sentence(scene: bpy.types.Scene, obj: bpy.types.Object) -> str:
    """One sentence where lips of `obj` move outside of the frames of `scene`, with the way out; "" where none do."""
    keys = obj.data.shape_keys if obj.type == "MESH" else None
    ranges = [part.frame_range for part in parts_of(keys) if plays(keys, part)]
    cache = vertex_cache.find(obj)
    if cache is not None and vertex_cache.playing(obj):
        ranges.append(vertex_cache.frame_range(cache))
    if not ranges:
        return ""
    first, last = min(first for first, _ in ranges), max(last for _, last in ranges)
    begins_late = first < scene.frame_start - _WHOLE
    ends_early = last - math.ceil(SETTLE * frame_rate(scene)) > scene.frame_end + _WHOLE  # then the face only settles
    if not (begins_late or ends_early):
        return ""
    if first < -_WHOLE:
        way = "no scene begins before frame 0, so let the speech begin later"
    else:
        way = "extend the frames of the scene"
    return (
        f"The lips of “{obj.name}” move from frame {math.floor(first)} to {math.ceil(last)}, and only the scene's "
        f"frames {scene.frame_start} to {scene.frame_end} were written; {way} and export again."
    )
