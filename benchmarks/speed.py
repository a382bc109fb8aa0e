# SPDX-License-Identifier: GPL-3.0-or-later
"""`make bench`: audio to FaceMotion, FaceMotion to F-curves, and the decoder beside the literal loop; medians.

    python -m benchmarks.speed [--model DIR] [--repeats 7]

Speech is synthetic noise with a syllable's rhythm: neither network nor decoder runs faster on silence. The F-curves
are written where bpy can be imported (`.venv/bpy-4.5`).
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from importlib import import_module
from pathlib import Path

import numpy as np

from inference import EMBEDDED_MODEL, CurveSet, LipSyncModel, Speech, make_curves
from inference.speech import SAMPLE_RATE

ROOT = Path(__file__).resolve().parent.parent


def syllables(seconds: float) -> Speech:
    """Noise that swells four times a second."""
    t = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    sound = 0.1 * np.random.default_rng(0).normal(size=len(t)) * np.abs(np.sin(2 * np.pi * 2 * t))
    return Speech(sound.clip(-1, 1).astype(np.float32))


def median_seconds(work: Callable[[], object], repeats: int) -> float:
    """Median wall time of `work` after one warm-up."""
    work()
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def literal_decoder(model: LipSyncModel, seconds: float) -> Callable[[], object]:
    """The paper's loop on as many frames, the baseline of the decoder."""
    sys.path.insert(0, str(ROOT / "tests"))
    from reference_decoder import literal_loop

    arrays, package = model.package.decoder_arrays(), model.package
    memory = np.random.default_rng(0).normal(size=(int(seconds * package.fps), model.decoder.width))
    return lambda: literal_loop(arrays, memory, model.style_vector(), package.period, package.heads)


def curve_writer(curves: CurveSet) -> Callable[[], object] | None:
    """Writes `curves` to a fresh mesh's shape keys, each time by a new Action, or None without bpy."""
    try:
        import bpy
    except ImportError:
        return None
    sys.path.insert(0, str(ROOT))
    destinations = import_module(f"{import_module('bake').load_package()}.operators.destinations")

    bpy.ops.wm.read_factory_settings(use_empty=True)
    mesh = bpy.data.meshes.new("bench")
    mesh.from_pydata([(0, 0, 0), (1, 0, 0), (0, 1, 0)], [], [(0, 1, 2)])
    head = bpy.data.objects.new("bench", mesh)
    for name in ("Basis", *curves.names):
        head.shape_key_add(name=name)

    def write() -> None:
        with ExitStack() as undo:
            destinations.write(mesh.shape_keys, curves, "bench", "ACTION", "{}", undo, keep_edits=False)
            undo.pop_all()

    return write


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=EMBEDDED_MODEL, type=Path)
    parser.add_argument("--repeats", default=7, type=int)
    options = parser.parse_args()
    began = time.perf_counter()
    model = LipSyncModel.load(options.model)
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}; model {model.package.id}")
    print(f"load the model                     {time.perf_counter() - began:8.3f} s")
    for seconds in (2, 5, 10, 20, 60):
        speech = syllables(seconds)
        took = median_seconds(partial(model.run, speech), options.repeats)
        print(f"{seconds:3d} s of speech to FaceMotion       {took:8.3f} s   {seconds / took:6.0f} times real time")
    motion = model.run(syllables(10))
    took = median_seconds(lambda: make_curves(motion, 24), options.repeats)
    print(f" 10 s FaceMotion to CurveSet       {took:8.3f} s")
    write = curve_writer(make_curves(motion, 24))
    if write:
        print(f" 10 s CurveSet to F-curves         {median_seconds(write, options.repeats):8.3f} s")
    memory = np.random.default_rng(0).normal(size=(int(10 * model.package.fps), model.decoder.width))
    ours = median_seconds(lambda: model.decoder.run(memory, model.style_vector()), options.repeats)
    theirs = median_seconds(literal_decoder(model, 10), 1)
    print(f" 10 s decoded                      {ours:8.3f} s   literal loop {theirs:.3f} s, {theirs / ours:.0f} times")


if __name__ == "__main__":
    main()
