# SPDX-License-Identifier: GPL-3.0-or-later
"""The buttons of Refine: presets, reset, muted regions, and what a linked character needs to be animated here."""

from __future__ import annotations

from typing import Any

import bpy
from bpy.props import EnumProperty, IntProperty

from ..inference import LipSyncError
from . import face_properties, ids, refine, target_mesh
from .face_properties import SLIDERS, face_of
from .greyed import Greyed
from .readiness import target_object

PRESETS: dict[str, tuple[str, dict[str, float]]] = {
    "SUBTLE": (
        "Calm, for close shots and thoughtful speech",
        {"strength": 0.7, "jaw": 0.85, "rounding": 0.9, "smoothing": 0.02},
    ),
    "NATURAL": ("As the speech was heard", {}),
    "BROAD": (
        "For the stage, and for heads seen from afar",
        {"strength": 1.25, "jaw": 1.15, "lip_closure": 1.3, "rounding": 1.2, "lower_lip": 1.1},
    ),
    "CARTOON": (
        "Wide open and firmly shut",
        {"strength": 1.5, "jaw": 1.35, "lip_closure": 1.8, "rounding": 1.5, "upper_lip": 1.3, "lower_lip": 1.2},
    ),
}
_MUTED = 0.5  # seconds that a new region lasts


class _HeadOperator(Greyed):
    """Mixin: `_change` does something to the chosen head; what goes wrong is one sentence."""

    bl_options = {"REGISTER", "UNDO"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Do it."""
        obj = target_object(context)
        assert obj is not None  # see `reason`
        try:
            self._change(context, obj)
        except LipSyncError as error:
            self.report({"ERROR"}, str(error))  # type: ignore[attr-defined]
            return {"CANCELLED"}
        return {"FINISHED"}

    def _change(self, context: bpy.types.Context, obj: bpy.types.Object) -> None:
        raise NotImplementedError


class _RefineOperator(_HeadOperator):
    """Mixin: needs a head that can be refined; `_apply` changes its settings, and the curves follow once."""

    @classmethod
    def reason(cls, context: bpy.types.Context) -> str:
        """There must be something to refine."""
        return refine.disabled_reason(target_object(context))

    def _change(self, context: bpy.types.Context, obj: bpy.types.Object) -> None:
        with face_properties.quietly():
            self._apply(context, obj)
        refine.refresh(obj, context.scene)

    def _apply(self, context: bpy.types.Context, obj: bpy.types.Object) -> None:
        raise NotImplementedError

    def _set(self, obj: bpy.types.Object, amounts: dict[str, float], names: tuple[str, ...]) -> None:
        """Sliders `names` to `amounts`, the others of them to neutral; those that are animated stay as they are."""
        face, heads, animated = face_of(obj), face_properties.sharing(obj), []
        for name in names:
            if face_properties.animating(heads, face.path_from_id(name)) is not None:
                animated.append(face.bl_rna.properties[name].name)
            elif name in amounts:
                setattr(face, name, amounts[name])
            else:
                face.property_unset(name)
        if animated:
            message = f"{', '.join(animated)} kept: clear the keyframes first to set what is animated."
            self.report({"WARNING"}, message)  # type: ignore[attr-defined]


class LIPSYNC_OT_refine_preset(_RefineOperator, bpy.types.Operator):
    """Set the sliders to a preset; time offset and muted regions stay"""

    bl_idname = ids.REFINE_PRESET
    bl_label = "Refine Preset"

    preset: EnumProperty(
        name="Preset", items=[(key, key.capitalize(), words) for key, (words, _) in PRESETS.items()], default="NATURAL"
    )

    @classmethod
    def description(cls, context: bpy.types.Context, properties: Any) -> str:
        """What the preset is for."""
        return PRESETS[properties.preset][0]

    def _apply(self, context: bpy.types.Context, obj: bpy.types.Object) -> None:
        self._set(obj, PRESETS[self.preset][1], tuple(name for name in SLIDERS if name != "offset"))


class LIPSYNC_OT_refine_reset(_RefineOperator, bpy.types.Operator):
    """Set every slider back to what the network made; muted regions stay"""

    bl_idname = ids.REFINE_RESET
    bl_label = "Reset"

    def _apply(self, context: bpy.types.Context, obj: bpy.types.Object) -> None:
        self._set(obj, {}, SLIDERS)


class LIPSYNC_OT_add_mute(_RefineOperator, bpy.types.Operator):
    """Keep the face at rest in the preview range, or around the current frame where there is none"""

    bl_idname = ids.ADD_MUTE
    bl_label = "Mute Region"

    def _apply(self, context: bpy.types.Context, obj: bpy.types.Object) -> None:
        scene, mute = context.scene, face_of(obj).mutes.add()
        if scene.use_preview_range:
            mute.first, mute.last = scene.frame_preview_start, scene.frame_preview_end
        else:
            half = max(1, round(_MUTED / 2 * scene.render.fps / scene.render.fps_base))
            mute.first, mute.last = scene.frame_current - half, scene.frame_current + half


class LIPSYNC_OT_remove_mute(_RefineOperator, bpy.types.Operator):
    """Let the face speak in this region again"""

    bl_idname = ids.REMOVE_MUTE
    bl_label = "Remove Muted Region"

    index: IntProperty(name="Region", min=0, options={"HIDDEN", "SKIP_SAVE"})

    def _apply(self, context: bpy.types.Context, obj: bpy.types.Object) -> None:
        face_of(obj).mutes.remove(self.index)  # Blender does nothing where there is no such region


class LIPSYNC_OT_refine_here(_HeadOperator, bpy.types.Operator):
    """Make a copy of the linked lip sync, and override the mesh if need be, so that it can be refined in this file"""

    bl_idname = ids.REFINE_HERE
    bl_label = "Refine Here"

    @classmethod
    def reason(cls, context: bpy.types.Context) -> str:
        """The lip sync must be another file's, on an object of this one."""
        obj = target_object(context)
        if obj is None or not refine.bakes_of(obj):
            return "There is no lip sync on this object; generate one first."
        if not obj.is_editable:
            return f"“{obj.name}” is linked from another file; make it a library override first."
        return "" if refine.lies_elsewhere(obj) else "The lip sync is in this file; use the sliders."

    def _change(self, context: bpy.types.Context, obj: bpy.types.Object) -> None:
        refine.localise(obj)
        refine.refresh(obj, context.scene)


class LIPSYNC_OT_override_mesh(_HeadOperator, bpy.types.Operator):
    """Override the mesh of this library override too, so that its shape keys can be animated in this file"""

    bl_idname = ids.OVERRIDE_MESH
    bl_label = "Override Mesh"

    @classmethod
    def reason(cls, context: bpy.types.Context) -> str:
        """The object must be this file's, its mesh another's."""
        obj = target_object(context)
        if obj is not None and target_mesh.mesh_is_left_behind(obj):
            return ""
        return "There is no mesh to override; it is for library overrides whose mesh is still linked."

    def _change(self, context: bpy.types.Context, obj: bpy.types.Object) -> None:
        refine.override_mesh(obj)


CLASSES = (
    LIPSYNC_OT_refine_preset,
    LIPSYNC_OT_refine_reset,
    LIPSYNC_OT_add_mute,
    LIPSYNC_OT_remove_mute,
    LIPSYNC_OT_refine_here,
    LIPSYNC_OT_override_mesh,
)


def register() -> None:
    """Register the operators."""
    for cls in CLASSES:
        bpy.utils.register_class(cls)


def unregister() -> None:
    """Unregister them."""
    for cls in reversed(CLASSES):
        bpy.utils.unregister_class(cls)
