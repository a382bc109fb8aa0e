# SPDX-License-Identifier: GPL-3.0-or-later
"""Sub-panel Bake: what the speech is baked to, where and how."""

from __future__ import annotations

import bpy

from ..operators.properties import job_state, settings_of
from .layout import LipSyncPanel


class LIPSYNC_PT_bake(LipSyncPanel, bpy.types.Panel):
    """Mode, start, keys, destination."""

    bl_idname = "LIPSYNC_PT_bake"
    bl_label = "Bake"
    bl_order = 1

    def draw(self, context: bpy.types.Context) -> None:
        settings = settings_of(context.scene)
        layout = self.layout
        layout.use_property_split = True
        layout.use_property_decorate = False
        layout.enabled = not job_state(context).running
        layout.prop(settings, "mode")
        if settings.mode == "EXACT":
            layout.prop(settings, "exact_tolerance")
        start = layout.row()
        start.enabled = settings.source != "STRIP"
        if start.enabled:
            start.prop(settings, "start_frame")
        else:
            start.label(text="Starts where the strip starts")
        if settings.mode == "CACHE":
            return
        keys = layout.column(align=True)
        keys.row().prop(settings, "keys", expand=True)
        if settings.keys == "REDUCED":
            keys.prop(settings, "tolerance")
        layout.row().prop(settings, "destination", expand=True)


def register() -> None:
    """Register the panel."""
    bpy.utils.register_class(LIPSYNC_PT_bake)


def unregister() -> None:
    """Unregister it."""
    bpy.utils.unregister_class(LIPSYNC_PT_bake)
