# SPDX-License-Identifier: GPL-3.0-or-later
"""Baking without a window: shared by bake.py and `blender --command lipsync`.

One JSON line per job on stdout, progress and errors on stderr. Exit codes: 0 done, 1 the job failed, 2 wrong usage.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import bpy

from ..inference import EMBEDDED_MODEL, LipSyncError, MeshError, ModelPackage
from . import audio_source, bake, ids, lipsync_task
from .lipsync_task import Options

_command: Any = None


class OutputError(LipSyncError):
    """A .blend cannot be read or written."""


def main(arguments: Sequence[str], prog: str = f"blender --command {ids.COMMAND}") -> int:
    """Run one job; returns the exit code (wrong usage ends the process with 2, as argparse does)."""
    options = _parser(prog).parse_args(list(arguments))
    line = {"ok": False, "audio": options.audio, "object": options.object, "output": options.output}
    try:
        line |= {"ok": True, **_run(options)}
    except LipSyncError as error:
        line["error"] = str(error)
        print(f"Error: {error}", file=sys.stderr)
    print(json.dumps(line, ensure_ascii=False), flush=True)
    return 0 if line["ok"] else 1


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=prog, description="Speech to shape-key animation, saved as a new .blend.")
    parser.add_argument("blend", nargs="?", metavar="SHOT.blend", help="file to open (default: the one that is open)")
    parser.add_argument("--audio", required=True, metavar="SPEECH", help="sound file: WAV, FLAC, OGG, Opus, MP3 …")
    parser.add_argument("--object", required=True, metavar="NAME", help="name of the head, a mesh object")
    parser.add_argument("--output", required=True, metavar="OUT.blend", help="where the result is saved")
    parser.add_argument("--model", default=str(EMBEDDED_MODEL), metavar="DIR", help="model folder (default: embedded)")
    parser.add_argument("--style", metavar="NAME", help="speaking style (default: the model's own)")
    parser.add_argument("--start-frame", type=float, default=1.0, metavar="F", help="frame at which the speech begins")
    parser.add_argument(
        "--tolerance", type=float, default=0.0, metavar="T", help="leave out keys within T (0: keep all)"
    )
    parser.add_argument("--nla", action="store_true", help="into an NLA strip instead of the action")
    return parser


def _run(options: argparse.Namespace) -> dict[str, Any]:
    """Bake and save; the fields of the JSON line."""
    output = Path(options.output).absolute()
    _check_place(output)
    if options.blend:
        _open(options.blend)
    scene = bpy.context.scene
    obj = scene.objects.get(options.object)
    if obj is None:
        raise MeshError(f"There is no object “{options.object}” in the scene “{scene.name}”.")
    task = lipsync_task.prepare(
        scene,
        obj,
        audio_source.from_file(str(Path(options.audio).absolute())),
        ModelPackage.read(options.model),
        Options(options.start_frame, options.tolerance, options.nla, options.style),
    )
    report = bake.write(task, task.compute(_progress, lambda: False))
    for sentence in (report.sentence, *report.notes):
        print(sentence, file=sys.stderr)
    _save(output)
    return asdict(report)


def _progress(fraction: float, stage: str) -> None:
    print(f"{fraction:4.0%} {stage}", file=sys.stderr, flush=True)


def _open(path: str) -> None:
    try:
        bpy.ops.wm.open_mainfile(filepath=str(Path(path).absolute()), load_ui=False)
    except RuntimeError as error:
        raise OutputError(f"“{path}” cannot be opened as a .blend file.") from error


def _check_place(output: Path) -> None:
    """Say before the work, not after it, that the result has no place."""
    if output.suffix != ".blend":
        raise OutputError(f"“{output}” does not end in .blend; choose such a name.")
    if output.is_dir() or not output.parent.is_dir() or not os.access(output.parent, os.W_OK):
        raise OutputError(f"“{output}” cannot be written; choose a folder that exists and may be written to.")


def _save(output: Path) -> None:
    """Save beside `output` and rename: whoever opens it sees the old file or the whole new one."""
    beside = output.with_name(f".{output.stem}.{os.getpid()}.blend")
    try:
        bpy.ops.wm.save_as_mainfile(filepath=str(beside), copy=True, check_existing=False)
        os.replace(beside, output)
    except (RuntimeError, OSError) as error:
        raise OutputError(f"“{output}” cannot be written; is the disk full or read-only?") from error
    finally:
        beside.unlink(missing_ok=True)


def register() -> None:
    """Register `blender --command lipsync`."""
    global _command
    _command = bpy.utils.register_cli_command(ids.COMMAND, main)


def unregister() -> None:
    """Take the command away."""
    global _command
    bpy.utils.unregister_cli_command(_command)
    _command = None
