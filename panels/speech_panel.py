# SPDX-License-Identifier: GPL-3.0-or-later
"""Sub-panel Speech & Target: who says what, and the button."""

from __future__ import annotations

from typing import Any

import bpy

from ..operators import ids, retime
from ..operators.properties import job_state, settings_of
from ..operators.readiness import disabled_reason, heads_to_speak, strips_line, target_key, target_object
from ..operators.target_mesh import mesh_is_left_behind
from .causes import draw_causes
from .layout import LipSyncPanel, wrapped

_LEVEL_ICONS = {"INFO": "CHECKMARK", "WARNING": "ERROR", "ERROR": "CANCEL"}


class LIPSYNC_PT_speech(LipSyncPanel, bpy.types.Panel):
    """Speech, head, model, and Generate."""

    bl_idname = "LIPSYNC_PT_speech"
    bl_label = "Speech & Target"
    bl_order = 0

    def draw(self, context: bpy.types.Context) -> None:
        settings, state = settings_of(context.scene), job_state(context)
        form = self.layout.column()
        form.enabled = not state.running
        _draw_speech(form, context, settings)
        _draw_head(form, context, settings, state)
        _draw_model(form, settings)
        self.layout.separator(factor=0.5)
        if state.running:
            _draw_progress(self.layout, state)
        else:
            _draw_button(self.layout, context)
            _draw_retime(self.layout, context)


def _draw_speech(layout: bpy.types.UILayout, context: bpy.types.Context, settings: Any) -> None:
    layout.label(text="Speech")
    group = layout.column(align=True)
    group.row(align=True).prop(settings, "source", expand=True)
    if settings.source == "FILE":
        group.prop(settings, "audio_path", text="", placeholder="Sound file")
    elif settings.source == "SOUND":
        group.prop(settings, "sound", text="")
    elif context.scene.sequence_editor:
        group.prop_search(settings, "strip", context.scene.sequence_editor, "strips_all", text="", icon="SEQUENCE")
        chosen = strips_line(context)
        if chosen and not settings.strip:
            wrapped(group, context, chosen, "CHECKMARK")
    else:
        group.label(text="The sequencer is empty")


def _draw_head(layout: bpy.types.UILayout, context: bpy.types.Context, settings: Any, state: Any) -> None:
    layout.label(text="Head")
    group = layout.column(align=True)
    obj = target_object(context)
    group.prop(settings, "target", text="", placeholder=f"{obj.name} (active)" if obj else "Active object")
    if obj is None or obj.type != "MESH":
        return
    if state.target_key == target_key(context, obj) and state.target_usable:
        wrapped(group, context, state.target_line, "CHECKMARK")


def _draw_model(layout: bpy.types.UILayout, settings: Any) -> None:
    layout.label(text="Model and Style")
    group = layout.column(align=True)
    group.prop(settings, "model", text="")
    group.prop(settings, "style", text="")
    row = group.row(align=True)
    row.prop(settings, "second_style", text="")
    row.prop(settings, "style_mix", slider=True)


def _draw_button(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    row = layout.row()
    row.scale_y = 1.8
    heads = len(heads_to_speak(context))
    row.operator(ids.GENERATE, text=f"Generate for {heads} Heads" if heads > 1 else "Generate Lip Sync", icon="PLAY")
    reason = disabled_reason(context)
    if reason:
        wrapped(layout, context, reason, "INFO")
        obj = target_object(context)
        if obj is not None and mesh_is_left_behind(obj):
            layout.operator(ids.OVERRIDE_MESH, icon="LIBRARY_DATA_OVERRIDE")
    else:
        _draw_message(layout, context, job_state(context))


def _draw_retime(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    """Only for heads whose speech has strips; where one cannot be followed it says why, if there are strips at all."""
    if not retime.is_offered(context):
        return
    layout.operator(ids.RETIME, icon="TIME")
    reason = retime.disabled_reason(context)
    if reason and reason != retime.NOTHING_MOVED and context.scene.sequence_editor:
        wrapped(layout, context, reason, "INFO")


def _draw_progress(layout: bpy.types.UILayout, state: Any) -> None:
    left = f", {_duration(state.seconds_left)} left" if state.seconds_left >= 0 else ""
    column = layout.column(align=True)
    row = column.row()
    row.scale_y = 1.2
    row.progress(factor=state.progress, text=f"{state.progress:.0%}{left}")
    column.label(text=f"{state.stage} …")
    row = layout.row()
    row.scale_y = 1.4
    row.operator(ids.CANCEL, text="Cancel (Esc)", icon="X")


def _draw_message(layout: bpy.types.UILayout, context: bpy.types.Context, state: Any) -> None:
    if not state.message:
        return
    box = layout.box()
    box.alert = state.level == "ERROR"
    wrapped(box, context, state.message, _LEVEL_ICONS.get(state.level, "INFO"))
    for line in state.details.splitlines():
        wrapped(box, context, line, "BLANK1")
    if state.level == "WARNING" and state.causes:
        draw_causes(layout, context, state)


def _duration(seconds: float) -> str:
    whole = max(1, round(seconds))
    return f"{whole} s" if whole < 90 else f"{round(whole / 60)} min"


def register() -> None:
    """Register the panel."""
    bpy.utils.register_class(LIPSYNC_PT_speech)


def unregister() -> None:
    """Unregister it."""
    bpy.utils.unregister_class(LIPSYNC_PT_speech)
