# SPDX-License-Identifier: GPL-3.0-or-later
"""Why Doesn't the Mouth Move? The causes as a list that the panel shows, and a button that mends one of them."""

from __future__ import annotations

import bpy
from bpy.props import StringProperty

from . import ids, run, target_mesh, verify
from .greyed import Greyed
from .properties import job_state
from .readiness import target_object


def look(context: bpy.types.Context, scene: bpy.types.Scene, obj: bpy.types.Object) -> bool:
    """Diagnose `obj` in `scene`, keep what was found where the panel sees it; returns whether the mouth moves."""
    verdict, state = verify.diagnose(scene, obj), job_state(context)
    forget(state)
    state.diagnosed, state.verdict = obj.session_uid, verify.headline(obj, verdict)
    for cause in verdict.causes:
        entry = state.causes.add()
        entry.cause, entry.subject, entry.sentence, entry.fix = cause.id, cause.subject, cause.sentence, cause.fix
    return verdict.moves


def forget(state: bpy.types.PropertyGroup) -> None:
    """Show no causes any more."""
    state.diagnosed, state.verdict = 0, ""
    state.causes.clear()


def _diagnosed(context: bpy.types.Context) -> bpy.types.Object | None:
    """The head that was looked at, however it is called now; None when there is none, or it is gone."""
    uid = job_state(context).diagnosed
    return next((obj for obj in bpy.data.objects if obj.session_uid == uid), None)


def _undiagnosable(context: bpy.types.Context, obj: bpy.types.Object | None) -> str:
    """Why nothing can be said of `obj`, as one sentence; empty when it can be looked at."""
    if run.current() is not None:
        return "A lip sync is being generated; wait for it or cancel it."
    if obj is None:
        return target_mesh.unusable_reason(obj)
    if obj.type != "MESH":
        return f"“{obj.name}” is not a mesh; select a head."
    return ""


class LIPSYNC_OT_diagnose(Greyed, bpy.types.Operator):
    """Look for everything that keeps the mouth of the chosen head from moving"""

    bl_idname = ids.DIAGNOSE
    bl_label = "Why Doesn't the Mouth Move?"
    bl_options = {"INTERNAL"}

    @classmethod
    def reason(cls, context: bpy.types.Context) -> str:
        """There must be a head to look at."""
        return _undiagnosable(context, target_object(context))

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Look, and show what was found."""
        obj = target_object(context)
        assert obj is not None
        moves = look(context, context.scene, obj)
        self.report({"INFO" if moves else "WARNING"}, job_state(context).verdict)
        return {"FINISHED"}


class LIPSYNC_OT_fix_mouth(Greyed, bpy.types.Operator):
    """Mend this, and look again"""

    bl_idname = ids.FIX
    bl_label = "Fix"
    bl_options = {"UNDO", "INTERNAL"}

    cause: StringProperty(options={"SKIP_SAVE", "HIDDEN"})
    subject: StringProperty(options={"SKIP_SAVE", "HIDDEN"})

    @classmethod
    def reason(cls, context: bpy.types.Context) -> str:
        """The head that was looked at must still be there."""
        obj = _diagnosed(context)
        return _undiagnosable(context, obj) if obj is not None else f"Click “{LIPSYNC_OT_diagnose.bl_label}” first."

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Find the cause again, mend it, look again."""
        obj = _diagnosed(context)
        assert obj is not None  # see poll
        known = verify.diagnose(context.scene, obj).causes
        cause = next((each for each in known if (each.id, each.subject) == (self.cause, self.subject)), None)
        if cause is None or cause.mend is None:
            look(context, context.scene, obj)
            self.report({"INFO"}, "That is no longer in the way.")
            return {"CANCELLED"}
        try:
            cause.mend()
        except (AttributeError, RuntimeError, TypeError) as error:  # linked data may not be written
            self.report({"ERROR"}, f"It cannot be changed here: {str(error).strip().splitlines()[-1]}.")
            return {"CANCELLED"}
        moves = look(context, context.scene, obj)
        self.report({"INFO" if moves else "WARNING"}, job_state(context).verdict)
        return {"FINISHED"}


def register() -> None:
    """Register the operators."""
    bpy.utils.register_class(LIPSYNC_OT_diagnose)
    bpy.utils.register_class(LIPSYNC_OT_fix_mouth)


def unregister() -> None:
    """Unregister them."""
    bpy.utils.unregister_class(LIPSYNC_OT_fix_mouth)
    bpy.utils.unregister_class(LIPSYNC_OT_diagnose)
