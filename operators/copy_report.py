# SPDX-License-Identifier: GPL-3.0-or-later
"""Copy Report: what somebody who is asked for help wants to know, without names of the user's folders."""

from __future__ import annotations

import platform
import re
import tomllib
from pathlib import Path

import bpy

from ..inference import ModelError, installed_runtimes
from . import ids, model_list
from .frames import frame_rate
from .preferences import device
from .properties import job_state, settings_of

# Folders of POSIX and Windows, and those relative to the .blend; what follows the last separator stays.
_NAME = r"[^/\\\s“”\"':;](?:[^/\\\n“”\"':;]|(?<=\w)'(?=\w))*"  # an apostrophe within a word ends no path
_FOLDERS = re.compile(rf"(?<![\w.])(?:[A-Za-z]:)?(?:[/\\]{{1,2}}{_NAME})*[/\\]{{1,2}}(?={_NAME})")


def report(context: bpy.types.Context) -> str:
    """The report as lines of text."""
    state, settings = job_state(context), settings_of(context.scene)
    try:
        package = model_list.find(context, settings.model_id)
        model = f"{package.id} {package.version} ({package.output_kind})"
    except ModelError as error:
        model = str(error)
    lines = [
        f"Wav2Sem Lip Sync {_version()}",
        f"Blender {bpy.app.version_string}, {platform.system()} {platform.release()}, {platform.machine()}",
        f"Python {platform.python_version()}, {', '.join(installed_runtimes()) or 'no onnxruntime'}",
        f"Model {model} on {device(context)}" + (f", {state.speed:.1f} s of speech per second" if state.speed else ""),
        f"Scene at {frame_rate(context.scene):g} frames per second; speech from {settings.source.lower()}",
        f"Head: {state.target_line}" if state.target_line else "",
        f"{state.level}: {state.message}" if state.message else "No lip sync was generated in this session.",
        *state.details.splitlines(),
        state.verdict,
        *(f"- {entry.cause}: {entry.sentence}" for entry in state.causes),
    ]
    return "\n".join(without_folders(line) for line in lines if line) + "\n"


def without_folders(text: str) -> str:
    """`text` with every path cut down to its file name."""
    return _FOLDERS.sub("…/", text)


def _version() -> str:
    manifest = Path(__file__).resolve().parent.parent / "blender_manifest.toml"
    try:
        return str(tomllib.loads(manifest.read_text(encoding="utf-8"))["version"])
    except (OSError, ValueError, KeyError):
        return "(unknown version)"


class LIPSYNC_OT_copy_report(bpy.types.Operator):
    """Copy versions, device and the last messages to the clipboard, without names of folders"""

    bl_idname = ids.COPY_REPORT
    bl_label = "Copy Report"
    bl_options = {"INTERNAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Copy it."""
        context.window_manager.clipboard = report(context)
        self.report({"INFO"}, "The report is on the clipboard.")
        return {"FINISHED"}


def register() -> None:
    """Register the operator."""
    bpy.utils.register_class(LIPSYNC_OT_copy_report)


def unregister() -> None:
    """Unregister it."""
    bpy.utils.unregister_class(LIPSYNC_OT_copy_report)
