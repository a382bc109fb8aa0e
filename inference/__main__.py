# SPDX-License-Identifier: GPL-3.0-or-later
"""`python -m inference speech.wav -o motion.npz`: speech to face motion without Blender.

Exit codes: 0 done, 1 the job failed, or Ctrl-C or SIGTERM ended it (one sentence on stderr), 2 wrong usage. One JSON
line on stdout, progress on stderr.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from contextlib import suppress
from pathlib import Path

from .arkit import arkit_view, check_mesh
from .console import hush, tell
from .errors import LipSyncError, OutputError, in_words
from .interchange import check_kind, write_json, write_live_link_csv
from .interrupts import heard
from .lipsync_model import EMBEDDED_MODEL, LipSyncModel
from .model_package import ModelPackage
from .motion import FaceMotion, write_motion
from .places import check_place
from .session import PROVIDERS
from .speech import read_speech


def _rate(text: str) -> float:
    """A frame rate such as 25, 29.97 or 24000/1001, in Hz."""
    try:
        above, _, below = text.partition("/")
        value = float(above) / float(below or 1)
    except (ValueError, ZeroDivisionError):
        value = 0.0
    if not 1 <= value <= 1000:
        raise argparse.ArgumentTypeError(f"{text!r} is no frame rate between 1 and 1000")
    return value


def _seconds(text: str) -> float:
    """A length in seconds of at least four, or inf."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not value >= 4:
        raise argparse.ArgumentTypeError(f"{text!r} is no length of at least 4 seconds")
    return value


def _tolerance(text: str) -> float:
    """A distance in millimetres, 0 or more."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not value >= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no distance in millimetres")
    return value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m inference", description="Speech to face motion, without Blender.")
    parser.add_argument("speech", help="sound file: WAV, FLAC, OGG, Opus, MP3, AIFF and others")
    parser.add_argument(
        "-o",
        "--output",
        required=True,
        metavar="MOTION.npz",
        help="where the motion is written: .npz, .csv (Live Link Face) or .json",
    )
    parser.add_argument("--model", default=str(EMBEDDED_MODEL), metavar="DIR", help="model folder (default: embedded)")
    parser.add_argument("--fps", type=_rate, help="frames per second (default: the model's own)")
    parser.add_argument("--style", help="speaker style, or a blend: neutral:0.7,broad:0.3 (default: the model's own)")
    parser.add_argument(
        "--longest", type=_seconds, metavar="SECONDS",
        help="longest stretch before the decoder starts afresh at a pause, or inf for never (default: the model's own)",
    )  # fmt: skip
    parser.add_argument(
        "--device",
        choices=("AUTO", *PROVIDERS),
        default="CPU",
        help="what runs the model; AUTO: the fastest that works",
    )
    parser.add_argument("--arkit", action="store_true", help="show a vertex model's motion as ARKit blendshapes")
    parser.add_argument(
        "--tolerance", type=_tolerance, default=0.0, metavar="MM",
        help="with --arkit: keep as many principal shapes as hold every vertex this near (default: all)",
    )  # fmt: skip
    parser.add_argument("--vertices", action="store_true", help="also write offsets (T, 5023, 3) in metres")
    return parser


def _report(fraction: float, stage: str) -> None:
    if sys.stderr is not None and sys.stderr.isatty():
        print(f"\r{fraction:4.0%} {stage:<32}", end="\n" if fraction >= 1 else "", file=sys.stderr, flush=True)


def _check_output(options: argparse.Namespace) -> None:
    """Say before the work, not after it, that the motion has no place; raises OutputError."""
    output = Path(options.output)
    check_place(output, (".npz", ".csv", ".json"))
    if options.vertices and output.suffix.lower() != ".npz":
        raise OutputError(f"Vertices are written to .npz alone, which “{output.name}” is not; choose such a name.")
    with suppress(OSError):  # one of them is not there; `read_speech` tells what is wrong with the speech
        if output.samefile(options.speech):
            raise OutputError(f"“{output}” is the speech itself; choose another name for the motion.")


def _check_model(package: ModelPackage, options: argparse.Namespace) -> None:
    """Say before the work, not after it, that what the model moves cannot be shown as asked; raises ModelError."""
    if package.output_kind == "vertices" and options.arkit:
        check_mesh(package.vertices)
    elif Path(options.output).suffix.lower() == ".csv":
        check_kind(package.output_kind)


def _write(motion: FaceMotion, options: argparse.Namespace) -> None:
    """In the form that the output's suffix names."""
    suffix = Path(options.output).suffix.lower()
    if suffix == ".csv":
        write_live_link_csv(motion, options.output)
    elif suffix == ".json":
        write_json(motion, options.output)
    else:
        write_motion(motion, options.output, options.vertices, lambda part: _report(part, "Writing vertices"))


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    options = _parser().parse_args(arguments)
    began = time.perf_counter()
    try:
        _check_output(options)
        speech = read_speech(options.speech)
        model = LipSyncModel.load(options.model, options.device)
        _check_model(model.package, options)
        if model.encoder.note:
            tell(model.encoder.note, sys.stderr)
        motion = model.run(speech, options.style, _report, longest=options.longest)
        residual = {}
        if options.arkit and motion.kind == "vertices":
            view = arkit_view(motion, options.tolerance / 1000)
            motion = view.motion
            residual = {
                "residual_rms_mm": round(view.rms * 1000, 4),
                "residual_largest_mm": round(view.largest * 1000, 4),
            }
        if options.fps:
            motion = motion.at_rate(options.fps)
        _write(motion, options)
    except (LipSyncError, MemoryError, KeyboardInterrupt) as error:
        tell(f"Error: {in_words(error)}", sys.stderr)
        return 1
    except OSError as error:
        tell(f"Error: “{options.output}” cannot be written ({error.strerror or error}).", sys.stderr)
        return 1
    summary = {
        "output": str(Path(options.output)),
        "speech_seconds": round(speech.duration, 3),
        "fps": motion.fps,
        "frames": len(motion.weights),
        "seconds": round(time.perf_counter() - began, 3),
    } | residual
    if not tell(json.dumps(summary), sys.stdout):
        tell(f"Error: “{options.output}” is there, but the line on it could not be written to stdout.", sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    with heard():
        code = main()
    hush(sys.stdout, sys.stderr)
    sys.exit(code)
