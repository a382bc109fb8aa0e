# SPDX-License-Identifier: GPL-3.0-or-later
"""The bake that a scene's settings describe."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import bpy

from . import audio_source, lipsync_task, model_list
from .audio_source import AudioSource
from .lipsync_task import Options, Task
from .preferences import device
from .properties import settings_of
from .readiness import target_object


def task_from_settings(context: bpy.types.Context) -> Task:
    """The bake of the chosen head with the present speech; raises LipSyncError."""
    scene = context.scene
    source = audio_source.from_settings(settings_of(scene), scene)
    return task_of(context, scene, target_object(context), source)


def task_of(
    context: bpy.types.Context,
    scene: bpy.types.Scene,
    head: bpy.types.Object | None,
    source: AudioSource,
    **changes: Any,
) -> Task:
    """The bake of `head` saying `source`, as `scene` is set but for `changes` of the options; raises LipSyncError."""
    settings = settings_of(scene)
    options = Options(
        start_frame=settings.start_frame,
        tolerance=settings.tolerance if settings.keys == "REDUCED" else 0.0,
        destination=settings.destination,
        keep_edits=settings.hand_edits == "KEEP",
        style=model_list.chosen_style(settings),
        device=device(context),
        mode=settings.mode,
        exact_tolerance=1e-3 * settings.exact_tolerance,
    )
    package = model_list.find(context, settings.model_id)
    return lipsync_task.prepare(scene, head, source, package, replace(options, **changes))
