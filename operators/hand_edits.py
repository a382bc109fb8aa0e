# SPDX-License-Identifier: GPL-3.0-or-later
"""What the animator edited by hand: a line for the panel that is kept up to date, and the buttons Drop and Merge."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import bpy
from bpy.app.handlers import persistent

from ..inference import LipSyncError
from ..inference.hand_edits import KEYFRAME, count
from . import animation, face_properties, ids, keyframes, nod, refine, single_user
from .animation import Bake
from .greyed import Greyed
from .properties import job_state
from .readiness import target_object

_REST = 0.3  # seconds without a change after which edits are counted


def refresh(context: bpy.types.Context) -> None:
    """Count the edits of the head that is chosen; a minute of 50 curves takes a few hundredths of a second."""
    state = job_state(context)
    try:
        found = [
            edits for bake in refine.bakes_of(target_object(context)) for edits in animation.hand_edits(bake).items()
        ]
    except LipSyncError as error:
        state.edited_keys, state.edits_line = 0, str(error)
    else:
        keys = {name: count(edits) for name, edits in found if not edits.gone}
        gone = [name for name, edits in found if edits.gone]
        state.edited_keys = sum(keys.values()) + len(gone)
        state.edits_line = _line(sum(keys.values()), len(keys), len(gone))


def edited_keys(context: bpy.types.Context) -> int:
    """How many keys were edited by hand (a deleted curve counts once); cheap while a window is open."""
    if bpy.app.background:
        refresh(context)  # no timer runs there
    return int(job_state(context).edited_keys)


def _line(keys: int, curves: int, gone: int) -> str:
    parts = []
    if keys:
        parts.append(f"{_number(keys, 'hand-edited key')} on {_number(curves, 'shape key')}")
    if gone:
        parts.append(f"{_number(gone, 'curve')} deleted")
    return ", ".join(parts) or "Nothing edited by hand"


def _number(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _no_bake_reason(context: bpy.types.Context) -> str:
    bakes = refine.bakes_of(target_object(context))
    if not bakes:
        return "The head has no lip sync; generate one first."
    if not all(bake.action.is_editable for bake in bakes):
        return "The lip sync is linked from another file; click Refine Here in Refine to get your own copy."
    return single_user.tweaked(bakes[0].keys) if bakes else ""


class LIPSYNC_OT_drop_edits(Greyed, bpy.types.Operator):
    """Take back what was edited by hand on the generated curves of the head; your own other curves stay"""

    bl_idname = ids.DROP_EDITS
    bl_label = "Drop"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def reason(cls, context: bpy.types.Context) -> str:
        """There must be edits to drop."""
        return _no_bake_reason(context) or ("" if edited_keys(context) else "Nothing was edited by hand.")

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Write the curves as they were generated."""
        try:
            bakes = refine.bakes_of(target_object(context))
            with ExitStack() as undo:
                shaped = [(bake, animation.generated(bake.action)) for bake in bakes]
                animation.rewrite_all(shaped, undo, keep_edits=False)
                undo.pop_all()
        except LipSyncError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        refresh(context)
        self.report({"INFO"}, "Hand edits dropped; undo brings them back.")
        return {"FINISHED"}


class LIPSYNC_OT_merge_edits(Greyed, bpy.types.Operator):
    """Make the lip sync of the head a plain action of yours, for export or for good: keys stay, Refine ends"""

    bl_idname = ids.MERGE_EDITS
    bl_label = "Merge"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def reason(cls, context: bpy.types.Context) -> str:
        """There must be a lip sync to merge."""
        return _no_bake_reason(context)

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Take away our marks and what is stored with the Actions."""
        obj, names = target_object(context), []
        for shared in refine.bakes_of(obj):
            bake = animation.own(shared, ExitStack())
            _make_plain(bake)
            names.append(f"“{bake.action.name}”")
        for each in face_properties.sharing(obj):
            nod.make_plain(each)
        refresh(context)
        self.report({"INFO"}, f"{' and '.join(names)} is yours now; generating again leaves it alone.")
        return {"FINISHED"}


def _make_plain(bake: Bake) -> None:
    """Keys become ordinary ones: nothing tells any more which were generated."""
    for fcurve in keyframes.curves_of(keyframes.bag_of(bake.action, bake.slot)).values():
        keyframes.set_types(fcurve, KEYFRAME)
    for mark in ids.MARKS:
        if mark in bake.action:
            del bake.action[mark]


@persistent
def _after_update(scene: bpy.types.Scene, depsgraph: bpy.types.Depsgraph) -> None:
    """An Action was edited, or something else may have become the head."""
    if any(
        isinstance(update.id, bpy.types.Action | bpy.types.Object | bpy.types.Scene) for update in depsgraph.updates
    ):
        _soon()


@persistent
def _after_jump(*_: Any) -> None:
    """Another file, or another step of undo."""
    _soon()


def _soon() -> None:
    if bpy.app.background:
        return
    if bpy.app.timers.is_registered(_refresh_later):
        bpy.app.timers.unregister(_refresh_later)
    bpy.app.timers.register(_refresh_later, first_interval=_REST)


def _refresh_later() -> None:
    if bpy.context.scene is None or bpy.app.is_job_running("RENDER"):
        return
    before = job_state(bpy.context).edits_line
    refresh(bpy.context)
    if job_state(bpy.context).edits_line != before:
        for window in bpy.context.window_manager.windows:
            for area in window.screen.areas:
                if area.type == "VIEW_3D":
                    area.tag_redraw()


_HANDLERS = (
    ("depsgraph_update_post", _after_update),
    ("load_post", _after_jump),
    ("undo_post", _after_jump),
    ("redo_post", _after_jump),
)
_CLASSES = (LIPSYNC_OT_drop_edits, LIPSYNC_OT_merge_edits)


def register() -> None:
    """Register the operators, and watch for edits."""
    for cls in _CLASSES:
        bpy.utils.register_class(cls)
    for name, handler in _HANDLERS:
        getattr(bpy.app.handlers, name).append(handler)
    _soon()


def unregister() -> None:
    """Watch no more."""
    if bpy.app.timers.is_registered(_refresh_later):
        bpy.app.timers.unregister(_refresh_later)
    for name, handler in _HANDLERS:
        getattr(bpy.app.handlers, name).remove(handler)
    for cls in reversed(_CLASSES):
        bpy.utils.unregister_class(cls)
