# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a sound strip lies on the timeline; the one module that knows Blender 5.1's new names for it."""

from __future__ import annotations

from typing import Any, NamedTuple


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
    if hasattr(strip, "content_start"):
        content, trimmed = strip.content_start, strip.content_trim_start
    else:  # Blender 4.5 and 5.0
        content, trimmed = strip.frame_start, strip.animation_offset_start
    # The sound offset is in seconds: the sound comes that much later than its strip.
    return StripTimes(content - trimmed + strip.sound_offset * fps, *span_of(strip))
