# SPDX-License-Identifier: GPL-3.0-or-later
"""Several heads, each with its own speech: the operators that fill the queue, and Generate All."""

from __future__ import annotations

import bpy
from bpy.props import EnumProperty

from . import ids, model_list, queue_items, readiness, run
from .greyed import Greyed
from .properties import settings_of
from .queue_properties import LipSyncQueue, queue_of
from .run import Item
from .run_operator import RunOperator


class _QueueButton(Greyed):
    """Mixin: a button that changes the queue, grey while it runs."""

    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def reason(cls, context: bpy.types.Context) -> str:
        """No change while it runs."""
        return "The queue is running; wait for it or cancel it." if run.current() else cls.needs(context)

    @classmethod
    def needs(cls, context: bpy.types.Context) -> str:
        """What this button lacks, one sentence; empty when nothing."""
        return "" if queue_of(context.scene).entries else "The queue is empty."


class LIPSYNC_OT_queue_add(_QueueButton, bpy.types.Operator):
    """Add the head with the present speech to the queue"""

    bl_idname = ids.QUEUE_ADD
    bl_label = "Add"

    @classmethod
    def needs(cls, context: bpy.types.Context) -> str:
        """A head must be chosen; its speech may come later."""
        obj = readiness.target_object(context)
        return "" if obj is not None and obj.type == "MESH" else "No mesh is chosen; select a head."

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Add one entry."""
        queue_items.add(context.scene, readiness.target_object(context))
        return {"FINISHED"}


class LIPSYNC_OT_queue_add_selected(_QueueButton, bpy.types.Operator):
    """Add every selected head, with the sound strips that are selected in the sequencer"""

    bl_idname = ids.QUEUE_ADD_SELECTED
    bl_label = "Add Selected Heads"
    bl_description = (
        "Add every selected head, with the sound strips that are selected in the sequencer: a strip goes to the head "
        "whose name it has, the others in order of time where there are as many as heads. A head without a strip gets "
        "the present speech"
    )

    @classmethod
    def needs(cls, context: bpy.types.Context) -> str:
        """A head must be selected."""
        return "" if readiness.selected_heads(context) else "No head is selected; select those that are to speak."

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Add what is not in the queue yet."""
        before = len(queue_of(context.scene).entries)
        heads = readiness.selected_heads(context)
        queue_items.add_heads(context, heads)
        added = len(queue_of(context.scene).entries) - before
        if added < len(heads):
            message = f"{added} of {len(heads)} heads added; the others, or heads with their meshes, are there already."
            self.report({"INFO"}, message)
        return {"FINISHED"}


class LIPSYNC_OT_queue_remove(_QueueButton, bpy.types.Operator):
    """Remove the active entry; the head keeps what was generated"""

    bl_idname = ids.QUEUE_REMOVE
    bl_label = "Remove"

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Remove one entry."""
        queue = queue_of(context.scene)
        queue.entries.remove(_active(queue))
        queue.active = max(0, min(queue.active, len(queue.entries) - 1))
        return {"FINISHED"}


class LIPSYNC_OT_queue_move(_QueueButton, bpy.types.Operator):
    """Move the active entry"""

    bl_idname = ids.QUEUE_MOVE
    bl_label = "Move"

    direction: EnumProperty(items=(("UP", "Up", "Earlier"), ("DOWN", "Down", "Later")))

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Swap with the neighbour, where there is one."""
        queue = queue_of(context.scene)
        place = _active(queue) + (-1 if self.direction == "UP" else 1)
        if not 0 <= place < len(queue.entries):
            return {"CANCELLED"}
        queue.entries.move(_active(queue), place)
        queue.active = place
        return {"FINISHED"}


class LIPSYNC_OT_queue_clear(_QueueButton, bpy.types.Operator):
    """Empty the queue; heads keep what was generated"""

    bl_idname = ids.QUEUE_CLEAR
    bl_label = "Clear"

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Remove all entries."""
        queue = queue_of(context.scene)
        queue.entries.clear()
        queue.active = 0
        return {"FINISHED"}


class LIPSYNC_OT_generate_all(Greyed, RunOperator, bpy.types.Operator):
    """Generate every entry of the queue that is not done yet"""

    bl_idname = ids.GENERATE_ALL
    bl_label = "Generate All"
    bl_description = (
        "Generate every entry of the queue that is not done yet, one after another. One that fails does not stop the "
        "rest. Each head is an undo step of its own"
    )

    @classmethod
    def reason(cls, context: bpy.types.Context) -> str:
        """One run at a time, something to run, and a model to do it."""
        if run.current() is not None:
            return "A lip sync is being generated; wait for it or cancel it."
        if not queue_of(context.scene).entries:
            return "The queue is empty; add heads to it."
        return model_list.missing_reason(context, settings_of(context.scene).model_id)

    def items(self, context: bpy.types.Context) -> list[Item]:
        """Whatever is not done; all again when all are."""
        entries = list(queue_of(context.scene).entries)
        return queue_items.items_of(context, [entry for entry in entries if entry.status != "DONE"] or entries)


def _active(queue: LipSyncQueue) -> int:
    return max(0, min(queue.active, len(queue.entries) - 1))


CLASSES = (
    LIPSYNC_OT_queue_add,
    LIPSYNC_OT_queue_add_selected,
    LIPSYNC_OT_queue_remove,
    LIPSYNC_OT_queue_move,
    LIPSYNC_OT_queue_clear,
    LIPSYNC_OT_generate_all,
)


def register() -> None:
    """Register the operators."""
    for cls in CLASSES:
        bpy.utils.register_class(cls)


def unregister() -> None:
    """Stop a running queue, then unregister."""
    run.finish()
    for cls in reversed(CLASSES):
        bpy.utils.unregister_class(cls)
