# SPDX-License-Identifier: GPL-3.0-or-later
"""Sub-panel Info: what runs the model and how fast, the last result, why a mouth does not move, a report to copy."""

from __future__ import annotations

import bpy

from ..operators import ids
from ..operators.preferences import device
from ..operators.properties import job_state
from .causes import draw_causes
from .layout import LipSyncPanel, wrapped


class LIPSYNC_PT_info(LipSyncPanel, bpy.types.Panel):
    """Device, speed, last result, help."""

    bl_idname = "LIPSYNC_PT_info"
    bl_label = "Info"
    bl_order = 9
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, context: bpy.types.Context) -> None:
        render, state = context.scene.render, job_state(context)
        column = self.layout.column(align=True)
        for name, value in (
            ("Model runs on", device(context)),
            ("Per second", f"{state.speed:.0f} s of speech" if state.speed else "not measured yet"),
            ("Scene", f"{render.fps / render.fps_base:g} frames per second"),
        ):
            row = column.split(factor=0.4)
            row.label(text=name)
            row.label(text=value)
        if state.message:
            wrapped(self.layout.box(), context, state.message, "INFO")
        column = self.layout.column()
        column.operator(ids.DIAGNOSE, icon="QUESTION")
        draw_causes(column, context, state)
        row = self.layout.row(align=True)
        row.operator(ids.COPY_REPORT, icon="COPYDOWN")
        row.operator(ids.REFRESH_MODELS, icon="FILE_REFRESH")


def register() -> None:
    """Register the panel."""
    bpy.utils.register_class(LIPSYNC_PT_info)


def unregister() -> None:
    """Unregister it."""
    bpy.utils.unregister_class(LIPSYNC_PT_info)
