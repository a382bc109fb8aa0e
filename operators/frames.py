# SPDX-License-Identifier: GPL-3.0-or-later
"""How many frames a scene plays per second, and between which Blender plays at all. Does not import bpy."""

from typing import Any, Final

FIRST_FRAME: Final = -1_048_574  # Blender's MINAFRAME
LAST_FRAME: Final = 1_048_574  # and MAXFRAME


def frame_rate(scene: Any) -> float:
    """Frames per second of a scene, broken ones such as 23.976 included."""
    return float(scene.render.fps / scene.render.fps_base)


def shown_at(scene: Any, frame: float) -> float:
    """Frame of the timeline at which `scene` plays what is keyed at `frame`: another one with time stretching."""
    return frame * float(scene.render.frame_map_new / scene.render.frame_map_old)
