# SPDX-License-Identifier: GPL-3.0-or-later
"""The panel's Cancel button."""

from __future__ import annotations

import bpy

from . import ids, run


class LIPSYNC_OT_cancel(bpy.types.Operator):
    """Stop generating; heads that are done stay, nothing else is changed"""

    bl_idname = ids.CANCEL
    bl_label = "Cancel"
    bl_options = {"INTERNAL"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if run.current() is None:
            cls.poll_message_set("No lip sync is being generated.")
            return False
        return True

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Ask the run to stop; the generating operator notices."""
        running = run.current()
        if running is None:
            return {"CANCELLED"}
        running.request_stop()
        return {"FINISHED"}


def register() -> None:
    """Register the operator."""
    bpy.utils.register_class(LIPSYNC_OT_cancel)


def unregister() -> None:
    """Unregister it."""
    bpy.utils.unregister_class(LIPSYNC_OT_cancel)
