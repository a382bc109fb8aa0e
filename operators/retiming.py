# SPDX-License-Identifier: GPL-3.0-or-later
"""The retiming keys of a strip: which part of its sound is heard when.

Blender's Python shows of a retiming key only its frame. How far into the sound it stands, and whether a transition
begins there, is read from the key's place in memory (struct SeqRetimingKey; it has had two layouts) and believed only
if it agrees with what Python shows. Nothing is written there.

The sound runs evenly from key to key. In a transition its speed changes evenly from that before to that after it:
Blender draws an arc between the two lines, so flat that the parabola meant here is the same (sequencer,
strip_retiming.cc). Blender's own playback keeps to this within a frame; see `tests/blender/test_retimed_strips.py`.
"""

from __future__ import annotations

import ctypes
import struct
from typing import Any

import bpy
import numpy as np

from ..inference import AudioError

_TRANSITION_BEGINS = 1  # SEQ_SPEED_TRANSITION_IN
_MOST_KEYS = 10_000
# strip_frame_index (double), flag (int), retiming_factor (float) with padding before it until Blender 4.5.
_LAYOUT = struct.Struct("=dif" if bpy.app.version >= (5, 0, 0) else "=di4xf")


def is_retimed(strip: Any) -> bool:
    """Whether the strip has retiming keys."""
    return len(strip.retiming_keys) > 0


def last_share(frames: float) -> float:
    """How many of the `frames` of a content the last retiming key stands for: until Blender 4.5 one less than all."""
    return frames if bpy.app.version >= (5, 0, 0) else frames - 1


def content_map(strip: Any) -> tuple[np.ndarray, np.ndarray]:
    """Frames from the beginning of the strip's content, rising, and the share 0…1 of the content heard by then.

    Straight lines between them; one entry per frame within transitions. Raises AudioError when the keys cannot be
    read, or run backwards.
    """
    keys = _keys(strip)
    frames, shares = [keys[0][0]], [keys[0][2]]
    for i in range(1, len(keys)):
        (begin, flag, share), (end, _, goal) = keys[i - 1], keys[i]
        if flag & _TRANSITION_BEGINS and 1 < i < len(keys) - 1:
            speeds = [_slope(keys[i - 2], keys[i - 1]), _slope(keys[i], keys[i + 1])]
            inner = np.arange(1, int(end - begin))
            part = inner / (end - begin)
            # Cubic Hermite polynomial; a parabola while the keys lie evenly about the corner, as Blender keeps them.
            frames += (begin + inner).tolist()
            shares += (
                (2 * part**3 - 3 * part**2 + 1) * share
                + (part**3 - 2 * part**2 + part) * (end - begin) * speeds[0]
                + (3 * part**2 - 2 * part**3) * goal
                + (part**3 - part**2) * (end - begin) * speeds[1]
            ).tolist()
        frames.append(end)
        shares.append(goal)
    if (np.diff(shares) < -1e-6).any():
        raise AudioError(f"The retiming of “{strip.name}” runs backwards; reset it.")
    return np.array(frames), np.maximum.accumulate(shares)


def _slope(first: tuple[float, int, float], second: tuple[float, int, float]) -> float:
    return (second[2] - first[2]) / (second[0] - first[0])


def _keys(strip: Any) -> list[tuple[float, int, float]]:
    """(frame from the beginning of the content, flags, share of the content) of each key."""
    shown = [key.timeline_frame for key in strip.retiming_keys]
    if len(shown) > _MOST_KEYS:
        raise AudioError(f"“{strip.name}” has more than {_MOST_KEYS} retiming keys; reset its retiming.")
    keys = [_LAYOUT.unpack(ctypes.string_at(key.as_pointer(), _LAYOUT.size)) for key in strip.retiming_keys]
    frames, shares = np.array([key[0] for key in keys]), np.array([key[2] for key in keys])
    believable = (
        len(keys) > 1
        and np.isfinite(frames).all()
        and np.abs(frames - frames[0] - np.subtract(shown, shown[0])).max() <= 1.0
        and (np.diff(frames) > 0).all()
        and shares.min() >= -1e-3
        and shares.max() <= 1 + 1e-3
    )
    if not believable:
        raise AudioError(
            f"This Blender does not tell how “{strip.name}” is retimed; reset its retiming or render it to a file."
        )
    return keys
