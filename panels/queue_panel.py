# SPDX-License-Identifier: GPL-3.0-or-later
"""Sub-panel Queue: several heads, each with its own speech, and Generate All."""

from __future__ import annotations

from typing import Any

import bpy

from ..operators import ids
from ..operators.properties import job_state
from ..operators.queue_properties import queue_of
from .layout import LipSyncPanel, wrapped

_STATUS_ICONS = {"WAITING": "DOT", "DONE": "CHECKMARK", "FAILED": "ERROR"}


class LIPSYNC_UL_queue(bpy.types.UIList):
    """One line for each entry: what became of it, the head, its speech."""

    bl_idname = "LIPSYNC_UL_queue"

    def draw_item(
        self,
        context: bpy.types.Context,
        layout: bpy.types.UILayout,
        data: Any,
        entry: Any,
        icon: int,
        active_data: Any,
        active_property: str,
    ) -> None:
        running = job_state(context).item == entry.key != ""
        row = layout.split(factor=0.45)
        row.label(
            text=entry.head.name if entry.head else "No head", icon="PLAY" if running else _STATUS_ICONS[entry.status]
        )
        row.label(text=entry.speech)


class LIPSYNC_PT_queue(LipSyncPanel, bpy.types.Panel):
    """The list, the chosen entry, Generate All."""

    bl_idname = "LIPSYNC_PT_queue"
    bl_label = "Queue"
    bl_order = 5
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, context: bpy.types.Context) -> None:
        queue, state = queue_of(context.scene), job_state(context)
        layout = self.layout
        layout.operator(ids.QUEUE_ADD_SELECTED, icon="ADD")
        row = layout.row()
        row.template_list(LIPSYNC_UL_queue.bl_idname, "", queue, "entries", queue, "active", rows=4)
        _draw_buttons(row.column(align=True))
        if queue.entries:
            column = layout.column()
            column.enabled = not state.running
            _draw_entry(column, context, queue.entries[max(0, min(queue.active, len(queue.entries) - 1))])
        button = layout.row()
        button.scale_y = 1.4
        if state.running:
            button.progress(factor=state.progress, text=f"{state.progress:.0%}")
            button.operator(ids.CANCEL, text="", icon="X")
        else:
            button.operator(ids.GENERATE_ALL, icon="PLAY")


def _draw_buttons(column: bpy.types.UILayout) -> None:
    column.operator(ids.QUEUE_ADD, text="", icon="ADD")
    column.operator(ids.QUEUE_REMOVE, text="", icon="REMOVE")
    column.separator()
    column.operator(ids.QUEUE_MOVE, text="", icon="TRIA_UP").direction = "UP"
    column.operator(ids.QUEUE_MOVE, text="", icon="TRIA_DOWN").direction = "DOWN"
    column.separator()
    column.operator(ids.QUEUE_CLEAR, text="", icon="TRASH")


def _draw_entry(layout: bpy.types.UILayout, context: bpy.types.Context, entry: Any) -> None:
    layout.use_property_split = True
    layout.use_property_decorate = False
    layout.prop(entry, "head")
    source = layout.row(align=True)
    source.use_property_split = False
    source.prop(entry, "source", expand=True)
    if entry.source == "FILE":
        layout.prop(entry, "audio_path")
    elif entry.source == "SOUND":
        layout.prop(entry, "sound")
    elif len(entry.strip_names) > 1:
        layout.label(text=entry.speech, icon="SEQUENCE")
    elif context.scene.sequence_editor:
        layout.prop_search(entry, "strip", context.scene.sequence_editor, "strips_all", icon="SEQUENCE")
    if entry.source != "STRIP":
        layout.prop(entry, "start_frame")
    if ":" in entry.style_name:  # a blend
        layout.label(text=entry.style_name)
    else:
        layout.prop(entry, "style")
    if entry.sentence:
        wrapped(layout, context, entry.sentence, _STATUS_ICONS[entry.status])


CLASSES = (LIPSYNC_UL_queue, LIPSYNC_PT_queue)


def register() -> None:
    """Register list and panel."""
    for cls in CLASSES:
        bpy.utils.register_class(cls)


def unregister() -> None:
    """Unregister them."""
    for cls in reversed(CLASSES):
        bpy.utils.unregister_class(cls)
