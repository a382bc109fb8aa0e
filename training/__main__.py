# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole way from recordings to a model package: `python -m training --profile small|cpu|full`.

Every stage is a command of its own. Run the same line again after an interruption: the corpus and the trainings of the
network go on where they stopped, the short stages begin again. The network learns to hear phones and to move lips
first; Wav2Sem starts from its lower layers, and the sentence vector joins in the last stage, for which the network may
grow deeper.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import torch

from .config import DENSE_STEP, PROFILES
from .corpus.clips import CACHE, REAL_SPEECH


@dataclass(frozen=True)
class Plan:
    """Wall-clock minutes of the three trainings (small learns no sentences), and layers of the last network."""

    lips: float
    wav2sem: float
    sentences: float
    layers: int


PLANS = {
    "small": Plan(2.0, 0.0, 0.0, 2),
    "cpu": Plan(25.0, 8.0, 90.0, 6),
    "full": Plan(60.0, 20.0, 120.0, 8),
}
ADVANCE = 20  # ms; see model.MemoryGraph


def stages(profile: str, runs: Path, cache: Path, speech: Path) -> list[list[str]]:
    """The commands, as arguments of this interpreter."""
    plan = PLANS[profile]
    processes = torch.cuda.device_count() or os.cpu_count() or 1
    launch = ["-m", "torch.distributed.run", "--nproc-per-node", str(processes), "-m", "training.train"]
    train = [*launch, "--profile", profile, "--threads", "1", "--closure-weight", "1.5"]
    where = ["--cache", str(cache), "--real", str(speech / "real")]
    train += [*where, "--patience", "10", "--every", str(min(3.0, plan.lips / 4))]
    sentences = ["--wav2sem", str(runs / "wav2sem" / "wav2sem.pt")] if plan.wav2sem else []
    last = "sentences" if plan.wav2sem else "lips"
    steps = [
        ["-m", "training.corpus", "--profile", profile, "--cache", str(cache), "--speech", str(speech)],
        [*train, "--folder", str(runs / "lips"), "--minutes", str(plan.lips)],
    ]
    if plan.wav2sem:
        listen = [*where, "--minutes", str(plan.wav2sem)]
        if not (runs / "wav2sem" / "wav2sem.pt").exists():
            initial = ["--initial", str(runs / "lips" / "last.pt")]
            steps.append(["-m", "training.wav2sem", *initial, "--folder", str(runs / "wav2sem"), *listen])
        go_on = ["--initial", str(runs / "lips" / "last.pt"), "--minutes", str(plan.sentences), "--rate", "5e-4"]
        labels = ["--labels", str(runs / "labels.jsonl")]
        steps.append(["-m", "training.label", str(runs / "lips" / "last.pt"), labels[1], *where])
        deeper = ["--layers", str(plan.layers)]
        steps.append([*train, "--folder", str(runs / last), *go_on, *deeper, *sentences, *labels])
    package = ["-m", "training.export", str(runs / last / "last.pt"), str(runs / "package")]
    fitted = ["--calibrate", str(cache), "--real", str(speech / "real")]
    return [*steps, [*package, "--advance", str(ADVANCE), "--step", str(DENSE_STEP), *fitted, *sentences]]


def main() -> int:
    """Command line; ends with the first stage that fails, and with its exit code."""
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__.splitlines()[0])
    parser.add_argument("--profile", choices=PROFILES, default="small")
    parser.add_argument("--runs", type=Path, help="where checkpoints, logs and the package go")
    parser.add_argument("--cache", type=Path, default=CACHE, help="where the corpus is")
    parser.add_argument("--speech", type=Path, default=REAL_SPEECH.parent, help="recordings and texts")
    options = parser.parse_args()
    runs = options.runs or Path("training/runs") / options.profile
    for stage in stages(options.profile, runs, options.cache, options.speech):
        print("==", " ".join(stage), flush=True)
        many = "torch.distributed.run" in stage or "training.corpus" in stage  # processes, one for each core
        threads = {"OMP_NUM_THREADS": "1" if many else str(os.cpu_count() or 1)}
        code = subprocess.run([sys.executable, *stage], env={**os.environ, **threads}).returncode
        if code:
            return code
    print(f"The package is in {runs / 'package'}; judge it with: make evaluate MODEL={runs / 'package'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
