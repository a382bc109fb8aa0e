# SPDX-License-Identifier: GPL-3.0-or-later
"""The product at work: speech in, animated shape keys out, by the same functions that the button calls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import bpy

from bake import load_package

_PACKAGE = load_package()
inference = import_module(f"{_PACKAGE}.inference")


@dataclass(frozen=True)
class Spoken:
    """What a bake wrote: its report, and the curves (scene frames and weights per shape key)."""

    report: Any
    curves: Any
    seconds: float


def speak(
    scene: bpy.types.Scene, head: bpy.types.Object, speech: Path, progress: Callable[[float, str], None]
) -> Spoken:
    """Animate `head` with the embedded model; raises LipSyncError."""
    audio_source, bake, task = (
        import_module(f"{_PACKAGE}.operators.{name}") for name in ("audio_source", "bake", "lipsync_task")
    )
    package = inference.ModelPackage.read(inference.EMBEDDED_MODEL)
    job = task.prepare(scene, head, audio_source.from_file(str(speech)), package, task.Options(start_frame=1.0))
    result = job.compute(progress, lambda: False)
    report = bake.write(job, result)
    for sound in bpy.data.sounds:
        sound.pack()
    return Spoken(report, result.curves, result.speech_seconds)
