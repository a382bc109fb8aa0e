# SPDX-License-Identifier: GPL-3.0-or-later
"""Sub-panel Hand Edits: how many keys are the animator's, and what becomes of them."""

from __future__ import annotations

import bpy

from ..operators import ids
from ..operators.properties import job_state, settings_of
from .layout import LipSyncPanel, wrapped


class LIPSYNC_PT_edits(LipSyncPanel, bpy.types.Panel):
    """Count, Keep or Drop, Merge."""

    bl_idname = "LIPSYNC_PT_edits"
    bl_label = "Hand Edits"
    bl_order = 3

    def draw(self, context: bpy.types.Context) -> None:
        layout, state = self.layout, job_state(context)
        layout.enabled = not state.running
        wrapped(
            layout,
            context,
            state.edits_line or "Nothing edited by hand",
            "KEYFRAME_HLT" if state.edited_keys else "KEYFRAME",
        )
        column = layout.column(align=True)
        column.label(text="When generated again")
        column.row(align=True).prop(settings_of(context.scene), "hand_edits", expand=True)
        buttons = layout.row(align=True)
        buttons.operator(ids.DROP_EDITS, text="Drop Now", icon="TRASH")
        buttons.operator(ids.MERGE_EDITS, text="Merge", icon="ACTION")


def register() -> None:
    """Register the panel."""
    bpy.utils.register_class(LIPSYNC_PT_edits)


def unregister() -> None:
    """Unregister it."""
    bpy.utils.unregister_class(LIPSYNC_PT_edits)
