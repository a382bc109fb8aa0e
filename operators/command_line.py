# SPDX-License-Identifier: GPL-3.0-or-later
"""Baking without a window: shared by bake.py and `blender --command lipsync`.

One JSON line per job on stdout, progress and errors on stderr. Exit codes: 0 done, 1 the job failed, 2 wrong usage.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import bpy

from ..inference import EMBEDDED_MODEL, LipSyncError, MeshError, ModelPackage, OutputError
from ..inference.console import tell
from ..inference.errors import in_words
from ..inference.interrupts import heard
from . import (
    audio_source,
    bake,
    batch,
    batch_jobs,
    batch_worker,
    ids,
    left_out,
    lipsync_task,
    output,
    vertex_cache,
)
from .batch_jobs import BatchJob, JobListError
from .lipsync_task import Options

_command: Any = None


def main(arguments: Sequence[str], prog: str = f"blender --command {ids.COMMAND}") -> int:
    """Run one job; returns the exit code (wrong usage ends the process with 2, as argparse does)."""
    parser = _parser(prog)
    options = parser.parse_args(list(arguments))
    if options.worker:
        return batch_worker.serve(_answer)
    if options.jobs:
        return _run_batch(parser, options)
    missing = [name for name in ("audio", "object", "output") if getattr(options, name) is None]
    if missing:
        parser.error(f"the following arguments are required: --{', --'.join(missing)} (or --jobs)")
    line = {"ok": False, "audio": options.audio, "object": options.object, "output": options.output}
    try:
        with heard():
            line |= {"ok": True, **_run(options)}
    except (LipSyncError, MemoryError, KeyboardInterrupt) as error:
        line["error"] = in_words(error)
        tell("", sys.stdout)  # of an exporter that fails Blender shows the beginning, and ends no line after it
        tell(f"Error: {line['error']}", sys.stderr)
    if not tell(json.dumps(line), sys.stdout):
        tell("Error: The line on the job could not be written to stdout; is the disk of its log full?", sys.stderr)
        return 1
    return 0 if line["ok"] else 1


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=prog, description="Speech to shape-key animation, saved as a new file.")
    parser.add_argument("blend", nargs="?", metavar="SHOT.blend", help="file to open (default: the one that is open)")
    parser.add_argument("--audio", metavar="SPEECH", help="sound file: WAV, FLAC, OGG, Opus, MP3 and others")
    parser.add_argument("--object", metavar="NAME", help="name of the head, a mesh object")
    parser.add_argument("--output", metavar="OUT", help="a .blend, or the head alone as .glb, .fbx, .usdc or .abc")
    parser.add_argument("--model", default=str(EMBEDDED_MODEL), metavar="DIR", help="model folder (default: embedded)")
    parser.add_argument("--style", metavar="NAME", help="speaking style, or a blend: neutral:0.7,broad:0.3")
    parser.add_argument(
        "--start-frame", type=_number("start_frame"), default=1.0, metavar="F", help="frame at which the speech begins"
    )
    parser.add_argument(
        "--tolerance", type=_number("tolerance"), default=0.0, metavar="T", help="leave out keys within T (0: keep all)"
    )
    place = parser.add_mutually_exclusive_group()
    place.add_argument("--nla", action="store_true", help="into an NLA strip instead of a new action")
    place.add_argument("--slot", action="store_true", help="into the slot of the action that plays, beside its curves")
    parser.add_argument(
        "--mode", choices=("arkit", "exact", "cache"), default="arkit", help="editable ARKit keys, exact shapes, or a "
        "vertex cache beside the output (arkit)"
    )  # fmt: skip
    parser.add_argument("--within", type=_number("within"), default=0.1, metavar="MM", help="how exact, in mm (0.1)")
    many = parser.add_argument_group("many jobs", "Options above hold for jobs that do not say otherwise.")
    many.add_argument("--jobs", metavar="LIST", help="a .csv or .json list, or a folder of sound files")
    many.add_argument("--workers", type=_positive, default=1, metavar="N", help="processes, each with a Blender (1)")
    many.add_argument("--only", metavar="1-20,33", help="only these jobs of the list")
    many.add_argument("--resume", action="store_true", help="leave out what an earlier run finished")
    many.add_argument("--report", metavar="REPORT.csv", help="where the report is written (default: beside the list)")
    many.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 1024:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 to 1024")
    return int(text)


def _number(name: str) -> Callable[[str], float]:
    """Reads an option as the column `name` of a list is read."""

    def read(text: str) -> float:
        try:
            return batch_jobs.checked_number(name, text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return read


def _run_batch(parser: argparse.ArgumentParser, options: argparse.Namespace) -> int:
    """Run a list of jobs; returns the exit code."""
    defaults = {name: getattr(options, name) for name in batch_jobs.COLUMNS}
    defaults["blend"] = options.blend or bpy.data.filepath
    try:
        jobs = batch_jobs.read_jobs(options.jobs, defaults)
        chosen = batch_jobs.choose_numbers(options.only, len(jobs)) if options.only is not None else None
        report = _report_place(options, jobs)
    except JobListError as error:
        parser.error(str(error))
    if chosen:
        jobs = [job for job in jobs if job.number in chosen]
    try:
        work = batch.Batch(jobs, _worker_command(), options.workers, report, options.resume)
    except OSError as error:
        parser.error(f"the report “{report}” cannot be written ({error.strerror})")
    return work.run()


def _report_place(options: argparse.Namespace, jobs: Sequence[BatchJob]) -> Path:
    """Where the report goes; raises JobListError where it would replace something else."""
    listed = Path(os.path.abspath(options.jobs))
    suffix = f".{options.only}" if options.only else ""
    if not (listed.name or options.report):
        raise JobListError(f"“{listed}” has no folder for a report beside it; say with --report where it goes.")
    # No ending is left out: jobs.csv, jobs.json and the folder jobs would share a journal.
    report = Path(options.report) if options.report else listed.with_name(f"{listed.name}{suffix}.report.csv")
    used = {options.jobs, *(path for job in jobs if job.output for path in (job.blend, job.audio, job.output))}
    if report.is_dir() or batch_jobs.place(str(report)) in map(batch_jobs.place, used):
        raise JobListError(f"The report “{report}” is a folder, the list or a file of a job; choose another name.")
    return report


def _worker_command() -> list[str]:
    """How to start another one of this process, which waits for jobs."""
    script = str(Path(__file__).resolve().parent.parent / "bake.py")
    if bpy.app.binary_path:
        return [bpy.app.binary_path, "--background", "--factory-startup", "--python", script, "--", "--worker"]
    return [sys.executable, script, "--", "--worker"]


def _answer(job: dict[str, Any]) -> dict[str, Any]:
    """Run one job of a batch in this worker; whatever goes wrong is the job's own failure."""
    try:
        with suppress(OSError):  # that there is no folder is told by `_run`
            Path(job["output"]).parent.mkdir(parents=True, exist_ok=True)
        return {"status": "done", **_run(argparse.Namespace(**job), threads=1)}
    except (LipSyncError, MemoryError) as error:
        return {"status": "failed", "error": in_words(error)}
    except Exception as error:
        return {"status": "failed", "error": f"Unexpected {type(error).__name__}: {error}"}


def _run(options: argparse.Namespace, threads: int = 0) -> dict[str, Any]:
    """Bake and save; the fields of the JSON line. One thread in a batch: its workers fill the cores."""
    place = Path(options.output).absolute()
    output.check_place(place)
    if options.blend:
        _open(options.blend)
    scene = bpy.context.scene
    try:
        obj = scene.objects.get(options.object)
    except (SystemError, UnicodeError):  # bytes that are no text
        obj = None
    if obj is None:
        raise MeshError(f"There is no object “{options.object}” in the scene “{scene.name}”.")
    task = lipsync_task.prepare(
        scene,
        obj,
        audio_source.from_file(str(Path(options.audio).absolute())),
        _package(options.model),
        Options(
            options.start_frame,
            options.tolerance,
            "NLA" if options.nla else "SLOT" if options.slot else "ACTION",
            style=options.style or None,
            threads=threads,
            mode=options.mode.upper(),
            exact_tolerance=1e-3 * options.within,
            cache_folder=place.parent / vertex_cache.FOLDER,
        ),
    )
    if task.plan is not None and place.suffix.lower() != ".blend":
        raise OutputError(f"A vertex cache is played by a .blend, which “{place.name}” is not; choose such a name.")
    report = bake.write(task, task.compute(_progress, lambda: False))
    missing = left_out.sentence(scene, obj) if place.suffix.lower() != ".blend" else ""
    report = replace(report, notes=(*report.notes, *filter(None, [missing])))
    for sentence in (report.sentence, *report.notes):
        tell(sentence, sys.stderr)
    try:
        if report.cache:
            vertex_cache.go_with(obj, place)
        output.write(place, obj)
    except BaseException:
        if report.cache:
            Path(report.cache).unlink(missing_ok=True)
        raise
    return asdict(report)


def _progress(fraction: float, stage: str) -> None:
    tell(f"{fraction:4.0%} {stage}", sys.stderr)


def _package(folder: str) -> ModelPackage:
    """The package in `folder`; between the jobs of a batch its files are checked only when they changed."""
    try:
        files = [(path.name, path.stat()) for path in sorted(Path(folder).glob("*")) if path.is_file()]
    except OSError:  # no folder that may be looked into: that is told as of any other
        return ModelPackage.read(folder)
    return _checked_package(folder, tuple((name, file.st_size, file.st_mtime_ns) for name, file in files))


@lru_cache(maxsize=8)
def _checked_package(folder: str, stamps: tuple[tuple[str, int, int], ...]) -> ModelPackage:
    return ModelPackage.read(folder)


def _open(path: str) -> None:
    try:
        if not os.path.isfile(path):  # from a pipe Blender would read for ever
            raise RuntimeError
        bpy.ops.wm.open_mainfile(filepath=str(Path(path).absolute()), load_ui=False)
    except (RuntimeError, UnicodeError) as error:  # Blender cannot say of every name that it does not know it
        raise OutputError(f"“{path}” cannot be opened as a .blend file.") from error


def register() -> None:
    """Register `blender --command lipsync`."""
    global _command
    _command = bpy.utils.register_cli_command(ids.COMMAND, main)


def unregister() -> None:
    """Take the command away."""
    global _command
    bpy.utils.unregister_cli_command(_command)
    _command = None
