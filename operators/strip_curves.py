# SPDX-License-Identifier: GPL-3.0-or-later
"""Influence and time that the animator keyed in an NLA strip of a lip sync go with the words when Time Offset moves.

Their keys stand on the timeline, where the words were shown when they were set. So each Action remembers by how many
frames its words come later.
"""

from __future__ import annotations

import bpy
import numpy as np

from ..inference.compact import DamagedData, pack, unpack
from ..inference.hand_edits import Move, moved_keys
from . import id_bytes, ids, keyframes
from .animated import Animated, Setting, Timing, shift


def remember(action: bpy.types.Action, offset: Setting) -> None:
    """Say that the words of `action` come later than their sound by `offset`, frames of the timeline."""
    if isinstance(offset, Animated):
        arrays = {"frames": offset.frames, "values": offset.values}
    else:
        arrays = {"frames": np.zeros(1), "values": np.array([float(offset)])}
    id_bytes.store(action, ids.OFFSET, pack(arrays))


def follow(strip: bpy.types.NlaStrip | None, action: bpy.types.Action, timing: Timing, offset: Setting) -> None:
    """Let what is keyed in `strip`, which plays `action`, go where its words come by `offset`; remembers that.

    timing: from the timeline to frames of `action`, which are what Strip Time has for values.
    """
    before = _remembered(action)
    remember(action, offset)
    if strip is None or before is None:
        return
    move = shift(before, offset)

    def in_action(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        goals, ways = move(timing.back.of(frames))
        return timing.of(goals), ways

    for fcurve in strip.fcurves:
        _move(fcurve, move, in_action if fcurve.data_path == "strip_time" else None)
    keyframes.move_modifiers(strip, in_action)  # those of the strip count in the action's frames


def _move(fcurve: bpy.types.FCurve, move: Move, values: Move | None) -> None:
    """Move the keys of `fcurve` in time, and with `values` in value; its modifiers go along."""
    current = keyframes.read(fcurve)
    keys = moved_keys(current, move)
    keys = moved_keys(keys, values, axis=1) if values is not None else keys
    keyframes.write(fcurve, keys, current)
    keyframes.move_modifiers(fcurve, move)


def _remembered(action: bpy.types.Action) -> Animated | None:
    """By how much the words of `action` come later; None where it does not tell."""
    data = action.get(ids.OFFSET)
    try:
        arrays = unpack(data) if isinstance(data, bytes) else {}
        frames, values = (arrays[name].astype(np.float64) for name in ("frames", "values"))
    except (DamagedData, KeyError, ValueError):
        return None
    good = frames.ndim == 1 and frames.shape == values.shape and len(frames) > 0
    return Animated(frames, values) if good and np.isfinite([frames, values]).all() else None
