# SPDX-License-Identifier: GPL-3.0-or-later
"""Sub-panel Info: what runs the model, the scene's rate, and looking for models again."""

from __future__ import annotations

import bpy

from ..operators import ids
from ..operators.preferences import device
from .layout import LipSyncPanel


class LIPSYNC_PT_info(LipSyncPanel, bpy.types.Panel):
    """Device and rate."""

    bl_idname = "LIPSYNC_PT_info"
    bl_label = "Info"
    bl_order = 3
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, context: bpy.types.Context) -> None:
        render = context.scene.render
        column = self.layout.column(align=True)
        for name, value in (
            ("Model runs on", device(context)),
            ("Scene", f"{render.fps / render.fps_base:g} frames per second"),
        ):
            row = column.split(factor=0.4)
            row.label(text=name)
            row.label(text=value)
        self.layout.operator(ids.REFRESH_MODELS, icon="FILE_REFRESH")


def register() -> None:
    """Register the panel."""
    bpy.utils.register_class(LIPSYNC_PT_info)


def unregister() -> None:
    """Unregister it."""
    bpy.utils.unregister_class(LIPSYNC_PT_info)
