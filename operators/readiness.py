# SPDX-License-Identifier: GPL-3.0-or-later
"""What stands between the user and the button; asked by its poll and by the panel on every redraw, so cheap."""

from __future__ import annotations

from typing import Any

import bpy

from . import audio_source, job, target_mesh
from .properties import job_state, settings_of


def target_object(context: bpy.types.Context) -> bpy.types.Object | None:
    """The chosen head, or the active object when none is chosen."""
    chosen = settings_of(context.scene).target
    return chosen or context.view_layer.objects.active


def chosen_strip(context: bpy.types.Context) -> Any | None:
    """The sound strip that would be spoken: the named one, or the active one, or the only one."""
    return audio_source.find_strip(context.scene, settings_of(context.scene).strip)


def target_key(obj: bpy.types.Object) -> str:
    """Changes when what is known of `obj` as a target may have changed."""
    mesh = obj.data
    keys = len(mesh.shape_keys.key_blocks) if mesh.shape_keys else 0
    return f"{obj.session_uid} {mesh.session_uid} {len(mesh.vertices)} {len(mesh.edges)} {keys}"


def disabled_reason(context: bpy.types.Context) -> str:
    """Why lip sync cannot be generated now, as one sentence; empty when it can."""
    if job.current() is not None:
        return "A lip sync is being generated; wait for it or cancel it."
    obj = target_object(context)
    reason = target_mesh.unusable_reason(obj)
    if not reason and obj is not None:
        state = job_state(context)
        if obj.name not in context.scene.objects:
            reason = f"“{obj.name}” is not in the scene “{context.scene.name}”; choose another head."
        elif state.target_key == target_key(obj) and not state.target_usable:
            reason = state.target_line
    return reason or audio_source.missing_reason(settings_of(context.scene), context.scene)
