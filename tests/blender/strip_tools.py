# SPDX-License-Identifier: GPL-3.0-or-later
"""Handling strips as an animator does, in every Blender: adding, dragging, trimming, retiming, listening to the mix."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import bpy
import numpy as np
import soundfile


def add_strip(path: Path, frame: int, name: str = "line", channel: int = 3) -> Any:
    """A sound strip in the scene's sequencer."""
    scene = bpy.context.scene
    if scene.sequence_editor is None:
        scene.sequence_editor_create()
    return scene.sequence_editor.strips.new_sound(name, str(path), channel, frame)


def set_handles(strip: Any, left: int, right: int) -> None:
    """Trim a strip to the frames `left` to `right`."""
    if hasattr(strip, "left_handle"):
        strip.left_handle, strip.right_handle = left, right
    else:
        strip.frame_final_start, strip.frame_final_end = left, right


def drag(strip: Any, frame: int) -> None:
    """Move a strip so that its content begins at `frame`."""
    setattr(strip, "content_start" if hasattr(strip, "content_start") else "frame_start", frame)


def push_down(data: bpy.types.AnimData) -> None:
    """As Blender's Push Down Action does: what is assigned becomes a strip on top."""
    data.nla_tracks.new().strips.new("pushed", 1, data.action).action_slot = data.action_slot
    data.action = None


def in_meta(head: bpy.types.Object) -> None:
    """Put the head's only strip into a meta strip, as the animator does."""
    window = bpy.context.window_manager.windows[0]
    area = window.screen.areas[0]
    area.type = "NLA_EDITOR"
    for keys in bpy.data.shape_keys:
        for track in keys.animation_data.nla_tracks if keys.animation_data else ():
            for strip in track.strips:
                strip.select = keys == head.data.shape_keys
    region = next(region for region in area.regions if region.type == "WINDOW")
    with bpy.context.temp_override(window=window, area=area, region=region):
        assert bpy.ops.nla.meta_add() == {"FINISHED"}


@contextmanager
def sequencer(strip: Any) -> Iterator[None]:
    """A window with a sequencer in which `strip` alone is selected; after `read_homefile` without `use_empty`."""
    scene, window = bpy.context.scene, bpy.context.window_manager.windows[0]
    area = window.screen.areas[0]
    area.type = "SEQUENCE_EDITOR"
    region = next(region for region in area.regions if region.type == "WINDOW")
    if hasattr(window.workspace, "sequencer_scene"):
        window.workspace.sequencer_scene = scene
    for other in scene.sequence_editor.strips_all:
        other.select = other == strip
    scene.sequence_editor.active_strip = strip
    with bpy.context.temp_override(window=window, area=area, region=region, scene=scene):
        yield


def mixdown(path: Path, first: int, last: int) -> tuple[np.ndarray, int]:
    """What Blender plays from frame `first` to `last`, mono at 48 kHz.

    Retimed strips must already be playing at `first`: before 5.2 Blender leaves the pitch of the frame before them
    uninitialised, and a mixdown that reads it comes late or crashes.
    """
    scene = bpy.context.scene
    scene.frame_start, scene.frame_end = first, last
    bpy.ops.sound.mixdown(
        filepath=str(path), container="WAV", codec="PCM", format="S16", channels="MONO", mixrate=48000
    )
    return soundfile.read(path)
