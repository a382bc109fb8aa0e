# SPDX-License-Identifier: GPL-3.0-or-later
"""Sub-panel Refine: sliders that shape the lip sync after the bake, without listening again."""

from __future__ import annotations

import bpy

from ..operators import ids
from ..operators.face_properties import face_of, holder, sharing
from ..operators.readiness import target_object
from ..operators.refine import disabled_reason, lies_elsewhere
from .layout import LipSyncPanel, wrapped

_PRESETS = ("SUBTLE", "NATURAL", "BROAD", "CARTOON")


class LIPSYNC_PT_refine(LipSyncPanel, bpy.types.Panel):
    """Presets, sliders, muted regions."""

    bl_idname = "LIPSYNC_PT_refine"
    bl_label = "Refine"
    bl_order = 2

    def draw(self, context: bpy.types.Context) -> None:
        layout, obj = self.layout, target_object(context)
        reason = disabled_reason(obj)
        if reason:
            wrapped(layout, context, reason, "INFO")
            if obj is not None and obj.type == "MESH" and obj.data.shape_keys and lies_elsewhere(obj):
                layout.operator(ids.REFINE_HERE, icon="DUPLICATE")
        if obj is None:
            return
        presets = layout.row(align=True)
        for preset in _PRESETS:
            presets.operator(ids.REFINE_PRESET, text=preset.capitalize()).preset = preset
        face, heads = face_of(obj), sharing(obj)
        sliders = layout.column()
        sliders.enabled = not reason
        sliders.use_property_split = True
        for name in ("strength", "jaw", "lip_closure", "rounding", "upper_lip", "lower_lip", "smoothing"):
            sliders.prop(face_of(holder(heads, face.path_from_id(name))), name, slider=True)
        sliders.prop(face_of(holder(heads, face.path_from_id("offset"))), "offset")
        _draw_mutes(layout, face)
        layout.operator(ids.REFINE_RESET, icon="LOOP_BACK")


def _draw_mutes(layout: bpy.types.UILayout, face: bpy.types.PropertyGroup) -> None:
    group = layout.column(align=True)
    for index, mute in enumerate(face.mutes):
        row = group.row(align=True)
        row.prop(mute, "first")
        row.prop(mute, "last")
        row.operator(ids.REMOVE_MUTE, text="", icon="X").index = index
    group.operator(ids.ADD_MUTE, icon="MUTE_IPO_ON")


def register() -> None:
    """Register the panel."""
    bpy.utils.register_class(LIPSYNC_PT_refine)


def unregister() -> None:
    """Unregister it."""
    bpy.utils.unregister_class(LIPSYNC_PT_refine)
