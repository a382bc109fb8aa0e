# SPDX-License-Identifier: GPL-3.0-or-later
"""What `make demo` runs: speech on a head, from the network to a movie.

    python -m demo [--mesh head.ply|.obj|.glb] [--speech speech.wav] [--out out]

Leaves demo.blend, demo.mp4, contact_sheet.png and curves.png in the output folder. Without --mesh it uses the demo
head of this repository; with it, your FLAME-topology mesh.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import bpy

from . import flame_mesh, head, life, materials, plots, render, scene, speak, stamp

ROOT = Path(__file__).resolve().parent.parent
FPS, WIDTH, HEIGHT, SAMPLES = 24, 640, 480, 5
OUTPUTS = ("demo.blend", "demo.mp4", "contact_sheet.png", "curves.png")


class Stages:
    """Says which stage runs, and remembers how long each took."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time one stage."""
        print(f"== {name}", flush=True)
        began = perf_counter()
        yield
        self.seconds[name] = perf_counter() - began

    def summary(self) -> str:
        """One line per stage and the total."""
        rows = [*self.seconds.items(), ("Total", sum(self.seconds.values()))]
        return "\n".join(f"   {name:<28}{seconds:7.1f} s" for name, seconds in rows)


def main() -> int:
    """Run the demo; returns the exit code."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mesh", type=Path, help="a FLAME-topology mesh: PLY, OBJ, GLB or glTF")
    parser.add_argument("--speech", type=Path, default=ROOT / "vendored_models" / "demo_speech" / "speech.flac")
    parser.add_argument("--out", type=Path, default=ROOT / "out")
    options = parser.parse_args()
    mesh = options.mesh.absolute() if options.mesh else None
    speech, out = options.speech.absolute(), options.out.absolute()
    try:
        made = stamp.digest(ROOT, [path for path in (mesh, speech) if path])
        if stamp.is_current(out, [out / name for name in OUTPUTS], made):
            print(f"Nothing has changed since the last run; delete {out} to make it again.")
        else:
            run(mesh, speech, out)
            stamp.write(out, made)
        show(out)
    except speak.inference.LipSyncError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"Error: “{error.filename or out}” cannot be read or written ({error.strerror}).", file=sys.stderr)
        return 1
    return 0


def show(out: Path) -> None:
    """Say what lies in the output folder."""
    print(f"\nIn {out}:")
    for name in OUTPUTS:
        print(f"   {name:<20}{(out / name).stat().st_size / 1e6:6.1f} MB", flush=True)


def run(mesh: Path | None, speech: Path, out: Path) -> None:
    """All stages; raises LipSyncError with one sentence when speech or mesh will not do."""
    blend, movie, sheet, curves = (out / name for name in OUTPUTS)
    stages = Stages()
    with stages.stage("Head and set"):
        bpy.ops.wm.read_factory_settings(use_empty=True)
        shot = bpy.context.scene
        shot.render.fps, shot.render.fps_base = FPS, 1.0
        if mesh is None:
            who = head.build_head(ROOT / "vendored_models" / "demo_head", *speak.inference.arkit_basis())
        else:
            who = flame_mesh.import_head(mesh, speak.inference)
        materials.paint(who)
        scene.light_and_frame(shot)
        scene.cycles(shot, WIDTH, HEIGHT, SAMPLES)
    with stages.stage("Speech to shape keys"):
        spoken = speak.speak(shot, who, speech, lambda part, what: print(f"   {part:4.0%} {what}", flush=True))
        print(f"   {spoken.report.sentence}")
        shot.frame_start, shot.frame_end = 1, 1 + round(spoken.seconds * FPS)
        if mesh is None:
            life.sway(life.add_head_bone(who), spoken.seconds, FPS)
            life.blink(who, FPS)
    out.mkdir(parents=True, exist_ok=True)
    for old in (blend, movie, sheet, curves, out / stamp.NAME):
        old.unlink(missing_ok=True)
    with stages.stage("Saving demo.blend"):
        scene.tidy_for_artist(shot, who)
        with render.quiet():
            bpy.ops.wm.save_as_mainfile(filepath=str(blend), compress=True)
    with TemporaryDirectory() as folder:
        with stages.stage("Rendering with Cycles"):
            frames = render.render_frames(shot, scene.moving_points(who), Path(folder))
        with stages.stage("Movie"):
            render.encode(frames, speech, shot, movie)
        with stages.stage("Contact sheet and curves"):
            plots.draw_sheet(frames, speech, FPS, sheet)
            plots.draw_curves(speech, spoken.curves, FPS, curves)
    print(f"\n{stages.summary()}", flush=True)


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # the bpy wheel may hang or crash while Python shuts down
