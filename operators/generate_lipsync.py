# SPDX-License-Identifier: GPL-3.0-or-later
"""The button: lip sync of the chosen head, or of all that are selected."""

from __future__ import annotations

import bpy

from . import ids, queue_items, run
from .greyed import Greyed
from .readiness import disabled_reason, heads_to_speak
from .run import Item
from .run_operator import RunOperator
from .scene_task import task_from_settings


class LIPSYNC_OT_generate(Greyed, RunOperator, bpy.types.Operator):
    """Turn the speech into shape-key animation of the head"""

    bl_idname = ids.GENERATE
    bl_label = "Generate Lip Sync"
    bl_description = (
        "Turn the speech into shape-key animation of the head. With several heads selected, each gets its entry in the "
        "queue, with the strip that fits it or the present speech, and those entries are generated"
    )

    @classmethod
    def reason(cls, context: bpy.types.Context) -> str:
        """What stands between the user and the button."""
        return disabled_reason(context)

    def items(self, context: bpy.types.Context) -> list[Item]:
        """One for the chosen head, as the scene is set now; or the entries of the selected heads."""
        heads = heads_to_speak(context)
        if len(heads) > 1:
            return queue_items.items_of(context, queue_items.add_heads(context, heads))
        task = task_from_settings(context)
        return [Item(task.target.name, lambda: task)]


def register() -> None:
    """Register the operator."""
    bpy.utils.register_class(LIPSYNC_OT_generate)


def unregister() -> None:
    """Stop a running job, then unregister."""
    run.finish()
    bpy.utils.unregister_class(LIPSYNC_OT_generate)
