# SPDX-License-Identifier: GPL-3.0-or-later
"""Export Lip-Synced Head: the chosen head for other programs, with the settings that keep its shape keys."""

from __future__ import annotations

from pathlib import Path

import bpy
from bpy.props import BoolProperty, EnumProperty, StringProperty

from ..inference import LipSyncError
from . import ids, left_out, output
from .greyed import Greyed
from .properties import tell
from .readiness import target_object

_FORMATS = (
    (".glb", "glTF (.glb)", "Shape keys with one animation"),
    (".fbx", "FBX (.fbx)", "Shape keys with one animation"),
    (".usdc", "USD (.usdc)", "Shape keys with their animation"),
    (".abc", "Alembic (.abc)", "The vertices of every frame, modifiers applied; no shape keys"),
)


class LIPSYNC_OT_export_head(Greyed, bpy.types.Operator):
    """Write the head with its rig for other programs, so that its shape keys and what plays on them come through"""

    bl_idname = ids.EXPORT_HEAD
    bl_label = "Export Head"

    filepath: StringProperty(subtype="FILE_PATH", options={"SKIP_SAVE"})
    check_existing: BoolProperty(default=True, options={"HIDDEN"})
    filter_glob: StringProperty(default="*.glb;*.fbx;*.usdc;*.abc", options={"HIDDEN"})
    format: EnumProperty(name="Format", description="Which kind of file is written", items=_FORMATS)

    @classmethod
    def reason(cls, context: bpy.types.Context) -> str:
        """A mesh must be chosen."""
        obj = target_object(context)
        return "" if obj is not None and obj.type == "MESH" else "No mesh is chosen; select a head."

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Ask for a name; the head's, beside the .blend, is proposed."""
        head = target_object(context)
        assert head is not None  # see poll
        folder = Path(bpy.data.filepath).parent if bpy.data.filepath else Path.home()
        self.filepath = str(folder / bpy.path.clean_name(head.name)) + self.format
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def check(self, context: bpy.types.Context) -> bool:
        """Let the name end as the chosen format does; called while the user looks at the name."""
        if not bpy.path.basename(self.filepath):
            return False  # no name is typed yet
        wanted = str(self._place())
        changed = wanted != self.filepath
        self.filepath = wanted
        return changed

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Write the file; what goes wrong is one sentence."""
        head = target_object(context)
        assert head is not None
        if not bpy.path.basename(self.filepath):  # the folder's name would become the file's, beside the folder
            self.report({"ERROR"}, "The file has no name; type one.")
            return {"CANCELLED"}
        place = self._place()
        try:
            output.check_place(place)
            output.write(place, head)
        except LipSyncError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        missing = left_out.sentence(context.scene, head)
        level, message = "WARNING" if missing else "INFO", f"“{head.name}” was written to “{place}”."
        tell(context, level, message, missing)  # the panel has room for what the status bar cuts off
        self.report({level}, f"{message} {missing}".rstrip())
        return {"FINISHED"}

    def _place(self) -> Path:
        """The path that was typed, with the ending of the format instead of another format's."""
        path = Path(bpy.path.abspath(self.filepath))
        other = path.suffix.lower() in {ending for ending, *_ in _FORMATS}
        return path.with_name((path.stem if other else path.name) + self.format)


def register() -> None:
    """Register the operator."""
    bpy.utils.register_class(LIPSYNC_OT_export_head)


def unregister() -> None:
    """Unregister it."""
    bpy.utils.unregister_class(LIPSYNC_OT_export_head)
