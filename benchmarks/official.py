# SPDX-License-Identifier: GPL-3.0-or-later
"""Encoder and decoder apart, ours beside plain onnxruntime and the literal loop: time, peak memory, growth.

    python -m benchmarks.official --model DIR [--seconds 2 5 10 20] [--literal-up-to 20] [--repeats 3] [--device AUTO]

Every figure is the median of `--repeats` runs in a process of its own, whose peak memory is the column beside it
(weights and libraries included). Decoders form all vertices. The literal loop needs PyTorch. On a machine that is busy
with other things, `--clock cpu --threads 1` counts processor time instead of the clock on the wall.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from inference import EMBEDDED_MODEL, LipSyncModel, ModelPackage, Speech, available_providers
from inference.decoder import Decoder

from .speed import syllables

WHAT = ("encoder", "plain onnxruntime", "decoder", "literal loop")
_VERTEX_BLOCK = 256  # frames


def _encoder(package: ModelPackage, speech: Speech, options: argparse.Namespace) -> Callable[[], object]:
    encoder = LipSyncModel.load(package, options.device, options.threads).encoder
    return lambda: encoder.listen(speech, lambda fraction: None)


def _plain(package: ModelPackage, speech: Speech, options: argparse.Namespace) -> Callable[[], object]:
    """The graph calls that the encoder makes, and nothing else."""
    encoder = LipSyncModel.load(package, options.device, options.threads).encoder
    calls: list[tuple[Any, ...]] = []

    def note(run: Callable[..., np.ndarray], *arguments: Any) -> np.ndarray:
        calls.append((run, *arguments))
        return run(*arguments)

    for graph in (encoder.graph, encoder.wav2sem):
        if graph is not None:
            graph.run = partial(note, graph.run)  # type: ignore[method-assign]
    encoder.listen(speech, lambda fraction: None)
    return lambda: [run(*arguments) for run, *arguments in calls]


def _memory(package: ModelPackage, speech: Speech) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    arrays = package.decoder_arrays()
    frames = int(speech.duration * package.fps) * package.memory_per_frame
    memory = np.random.default_rng(0).normal(size=(frames, len(arrays["vertice_map.bias"]))).astype(np.float32)
    return arrays, memory, np.eye(len(package.styles))[0]


def _decoder(package: ModelPackage, speech: Speech, options: argparse.Namespace) -> Callable[[], object]:
    """The recurrence, and all outputs formed in blocks."""
    arrays, memory, style = _memory(package, speech)
    outputs = len(arrays["vertice_map_r.bias"])
    decoder = Decoder(arrays, package.period, package.heads, package.memory_per_frame, outputs, len(style))
    weight = np.ascontiguousarray(decoder.output_weight.T)

    def work() -> None:
        hidden = decoder.run(memory, style).astype(np.float32)
        for first in range(0, len(hidden), _VERTEX_BLOCK):
            _ = hidden[first : first + _VERTEX_BLOCK] @ weight + decoder.output_bias

    return work


def _literal(package: ModelPackage, speech: Speech, options: argparse.Namespace) -> Callable[[], object]:
    import torch

    from .literal_loop import LiteralLoop

    if options.threads:
        torch.set_num_threads(options.threads)
    arrays, memory, style = _memory(package, speech)
    loop = LiteralLoop(arrays, package.period, package.heads, package.memory_per_frame)
    return lambda: loop.run(memory, style)


def _measure(package: ModelPackage, options: argparse.Namespace) -> dict[str, float]:
    """Median seconds and peak megabytes of this process."""
    work = dict(zip(WHAT, (_encoder, _plain, _decoder, _literal), strict=True))[options.measure]
    clock = time.perf_counter if options.clock == "wall" else time.process_time
    job = work(package, syllables(options.seconds[0]), options)
    times = []
    for _ in range(options.repeats):
        began = clock()
        job()
        times.append(clock() - began)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)
    return {"seconds": statistics.median(times), "peak": peak}


def _in_a_process(what: str, options: argparse.Namespace, seconds: float) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.official", "--model", str(options.model), "--measure", what]
    command += ["--seconds", str(seconds), "--device", options.device, "--clock", options.clock]
    command += ["--threads", str(options.threads), "--repeats"]
    command += [str(1 if what == "literal loop" and seconds > 10 else options.repeats)]
    threads = {"OMP_NUM_THREADS": str(options.threads), "OPENBLAS_NUM_THREADS": str(options.threads)}
    environment = os.environ | (threads if options.threads else {})
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout)


def growth(seconds: list[float], times: list[float]) -> float:
    """The power of length with which time grows: slope of the least-squares line between logarithms."""
    return float(np.polyfit(np.log(seconds), np.log(times), 1)[0]) if len(seconds) > 1 else float("nan")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=EMBEDDED_MODEL, type=Path)
    parser.add_argument("--seconds", nargs="+", type=float, default=[2, 5, 10, 20])
    parser.add_argument("--literal-up-to", type=float, default=20, help="seconds of speech; 0 leaves the loop out")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="CPU", help="AUTO, CUDA, DIRECTML, COREML or CPU")
    parser.add_argument("--threads", type=int, default=0, help="0: one per core")
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    parser.add_argument("--measure", choices=WHAT, help=argparse.SUPPRESS)
    options = parser.parse_args()
    package = ModelPackage.read(options.model)
    if options.measure:
        print(json.dumps(_measure(package, options)))
        return
    # This process loads no model: a child's peak memory begins with its parent's.
    print(f"{package.name}; {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    print(f"device asked for: {options.device}, offered: {', '.join(available_providers())}\n")
    print(f"{'speech':>8}" + "".join(f"{what:>26}" for what in WHAT) + "   loop / ours")
    table: dict[str, tuple[list[float], list[float]]] = {what: ([], []) for what in WHAT}
    for seconds in options.seconds:
        row, took = f"{seconds:6g} s", {}
        for what in WHAT:
            if what == "literal loop" and seconds > options.literal_up_to:
                row += f"{'—':>26}"
                continue
            found = _in_a_process(what, options, seconds)
            took[what] = found["seconds"]
            table[what][0].append(seconds)
            table[what][1].append(found["seconds"])
            row += f"{found['seconds']:13.4f} s {found['peak']:8.0f} MB"
        ratio = f"{took['literal loop'] / took['decoder']:11.0f}" if "literal loop" in took else ""
        print(row + "   " + ratio, flush=True)
    print(f"{'growth':>8}" + "".join(f"{growth(*table[what]):26.2f}" for what in WHAT))


if __name__ == "__main__":
    main()
