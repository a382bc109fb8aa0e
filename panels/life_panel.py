# SPDX-License-Identifier: GPL-3.0-or-later
"""Sub-panel Eyes & Life: blinks, brows and a nod, added to the lip sync; all off by default."""

from __future__ import annotations

import bpy

from ..operators import life
from ..operators.face_properties import face_of, holder, sharing
from ..operators.readiness import target_object
from .layout import LipSyncPanel, wrapped


class LIPSYNC_PT_life(LipSyncPanel, bpy.types.Panel):
    """Amounts, rate and seed; what is left to the user."""

    bl_idname = "LIPSYNC_PT_life"
    bl_label = "Eyes & Life"
    bl_order = 4
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, context: bpy.types.Context) -> None:
        layout, obj = self.layout, target_object(context)
        reason = life.disabled_reason(obj)
        if reason:
            wrapped(layout, context, reason, "INFO")
        if obj is None:
            return
        settings, heads = face_of(obj).life, sharing(obj)
        column = layout.column()
        column.enabled = not reason
        column.use_property_split = True
        column.prop(face_of(holder(heads, settings.path_from_id("blinks"))).life, "blinks", slider=True)
        rate = column.row()
        rate.active = settings.blinks > 0
        rate.prop(settings, "rate")
        column.prop(face_of(holder(heads, settings.path_from_id("brows"))).life, "brows", slider=True)
        column.prop(settings, "nod", slider=True)
        column.prop(settings, "seed")
        if settings.nod_object is not None:
            column.prop(settings, "nod_object", text="Nods", icon="EMPTY_ARROWS")
        for remark in () if reason else life.remarks(obj):
            wrapped(layout, context, remark, "INFO")


def register() -> None:
    """Register the panel."""
    bpy.utils.register_class(LIPSYNC_PT_life)


def unregister() -> None:
    """Unregister it."""
    bpy.utils.unregister_class(LIPSYNC_PT_life)
