# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a sound strip lies on the timeline; the one module that knows Blender 5.1's new names for it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from ..inference.pieces import Stretch
from .retiming import content_map, is_retimed, last_share

ROUNDED = 2.0  # scene frames that a strip may be shorter than its sound: it begins and ends on whole ones


class StripTimes(NamedTuple):
    """Scene frames, may lie between two: where the file's first sample would be heard, and what the handles leave.

    The strip is heard from `left` on and no longer at `right`.
    """

    first_sample: float
    left: float
    right: float


def span_of(strip: Any) -> tuple[float, float]:
    """First frame of any strip and the frame after its last."""
    if hasattr(strip, "left_handle"):
        return float(strip.left_handle), float(strip.right_handle)
    return float(strip.frame_final_start), float(strip.frame_final_end)


def times_of(strip: Any, fps: float) -> StripTimes:
    """Times of a sound strip in a scene of `fps` (Hz)."""
    content, trimmed = _content(strip)
    # The sound offset is in seconds: the sound comes that much later than its strip.
    return StripTimes(content - trimmed + strip.sound_offset * fps, *span_of(strip))


def heard_of(strip: Any, fps: float, duration: float) -> tuple[Stretch, ...]:
    """What is heard of a sound strip whose file lasts `duration` (seconds), in a scene of `fps` (Hz).

    One stretch, or several where retiming freezes the sound; none when the handles, or those of a meta strip around
    it, leave nothing. Raises AudioError for retiming that cannot be followed; that of a meta strip is not visible to
    Python, and ignored.
    """
    first, left, right = times_of(strip, fps)
    for meta in _metas(strip):
        begin, end = span_of(meta)
        left, right = max(left, begin), min(right, end)
    if not is_retimed(strip):
        frames, seconds = np.array([first, first + duration * fps]), np.array([0.0, duration])
    else:
        trimmed = _content(strip)[1]
        frames, shares = content_map(strip)
        length = last_share(max(1, round(duration * fps)) - trimmed - _trimmed_end(strip))
        frames, seconds = frames + first + trimmed, (trimmed + shares * length) / fps
        if frames[-1] < right:  # until Blender 4.5 the last key stands one frame before the end
            speed = (seconds[-1] - seconds[-2]) / (frames[-1] - frames[-2])
            seconds = np.append(seconds, min(seconds[-1] + (right - frames[-1]) * speed, duration))
            frames = np.append(frames, right)
    return _stretches(frames, seconds, max(left, frames[0]), min(right, frames[-1]))


def is_muted(strip: Any) -> bool:
    """Whether `strip`, a meta strip around it, or the channel of either is muted."""
    for each in (strip, *_metas(strip)):
        around = each.parent_meta() or each.id_data.sequence_editor
        if each.mute or around.channels[each.channel].mute:
            return True
    return False


def _metas(strip: Any) -> Iterator[Any]:
    """The meta strips around `strip`, innermost first."""
    meta = strip.parent_meta()
    while meta is not None:
        yield meta
        meta = meta.parent_meta()


def _content(strip: Any) -> tuple[float, float]:
    """Frame at which the content begins, and frames that are cut off the sound before it."""
    if hasattr(strip, "content_start"):
        return strip.content_start, strip.content_trim_start
    return strip.frame_start, strip.animation_offset_start  # Blender 4.5 and 5.0


def _trimmed_end(strip: Any) -> float:
    return strip.content_trim_end if hasattr(strip, "content_trim_end") else strip.animation_offset_end


def _stretches(frames: np.ndarray, seconds: np.ndarray, left: float, right: float) -> tuple[Stretch, ...]:
    """The rising runs of the map within left…right."""
    if right - left < 1e-6:
        return ()
    inside = (frames > left) & (frames < right)
    nodes = np.concatenate([[left], frames[inside], [right]])
    values = np.interp(nodes, frames, seconds)
    stops = np.flatnonzero(np.diff(values) <= 1e-9)
    begins, ends = np.append(0, stops + 1), np.append(stops, len(nodes) - 1)
    return tuple(
        Stretch(tuple(nodes[begin : end + 1].tolist()), tuple(values[begin : end + 1].tolist()))
        for begin, end in zip(begins, ends, strict=True)
        if end > begin
    )
