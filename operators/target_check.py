# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeps one line on the chosen mesh ready for the panel, so that drawing never has to look at vertices."""

from __future__ import annotations

from typing import Any

import bpy
from bpy.app.handlers import persistent

from ..inference import ModelError, blendshape_names
from . import model_list, target_mesh
from .properties import job_state, settings_of
from .readiness import target_key, target_object


def refresh(context: bpy.types.Context) -> None:
    """Look at the target again if it is another mesh than last time, changed in size, or has other names."""
    obj = target_object(context)
    usable = not target_mesh.unusable_reason(obj)
    key = target_key(context, obj) if obj is not None and usable else ""
    state = job_state(context)
    if state.target_key == key:
        return
    state.target_key = key
    state.target_line, state.target_usable = target_mesh.describe(obj, _moved(context)) if key else ("", False)
    for window in context.window_manager.windows:
        for area in window.screen.areas:
            if area.type == "VIEW_3D":
                area.tag_redraw()


def _moved(context: bpy.types.Context) -> tuple[str, ...] | None:
    """The names that the chosen model moves; None where the model is the problem, which is told elsewhere."""
    try:
        return blendshape_names(model_list.find(context, settings_of(context.scene).model_id))
    except ModelError:
        return None


@persistent
def _on_change(*_: Any) -> None:
    # While a render runs, handlers are called with its own copy of the scene.
    if bpy.context.scene is not None and not bpy.app.is_job_running("RENDER"):
        refresh(bpy.context)


def _once() -> None:
    _on_change()


def register() -> None:
    """Look whenever the scene changes, and once now."""
    bpy.app.handlers.depsgraph_update_post.append(_on_change)
    bpy.app.handlers.load_post.append(_on_change)
    bpy.app.timers.register(_once, first_interval=0.1)


def unregister() -> None:
    """Stop looking."""
    if bpy.app.timers.is_registered(_once):
        bpy.app.timers.unregister(_once)
    bpy.app.handlers.load_post.remove(_on_change)
    bpy.app.handlers.depsgraph_update_post.remove(_on_change)
