# SPDX-License-Identifier: GPL-3.0-or-later
"""The panel's Cancel button."""

from __future__ import annotations

import bpy

from . import ids, run
from .greyed import Greyed


class LIPSYNC_OT_cancel(Greyed, bpy.types.Operator):
    """Stop generating; heads that are done stay, nothing else is changed"""

    bl_idname = ids.CANCEL
    bl_label = "Cancel"
    bl_options = {"INTERNAL"}

    @classmethod
    def reason(cls, context: bpy.types.Context) -> str:
        """Something must be running."""
        return "" if run.current() else "No lip sync is being generated."

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
