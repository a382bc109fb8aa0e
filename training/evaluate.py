# SPDX-License-Identifier: GPL-3.0-or-later
"""Judge a model package: `python -m training.evaluate vendored_models/wav2sem_small --out report`.

Writes report.md, scores.json and one plot per clip: the lips of real speakers against the package's (correlation,
lag, amplitude, closures; by the scorer that lies beside the clips), and what the lips do when nobody speaks.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from inference import FaceMotion, LipSyncModel, Speech, read_speech

from .config import SAMPLE_RATE
from .evaluation.clips import load_scorer
from .evaluation.rest import rest_figures

COLUMNS = ("r_ap", "r_sp", "lag", "r_lag", "amp", "n_close", "rec", "prec")


def score_clips(
    model: LipSyncModel, folder: Path, template: np.ndarray, style: str
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Rows of figures for the package and the audio envelope on every clip, and the curves behind them."""
    scorer = load_scorer(folder)
    rows, curves = [], {}
    for name in scorer.load_manifest(str(folder))["clips"]:
        speech = read_speech(folder / "audio" / f"{name}.flac")
        motion = model.run(speech, style=style)
        reference = scorer.load_ref(name, str(folder))
        found = scorer.vertices_to_curves(template + motion.offsets(), motion.fps)
        envelope = scorer.baseline_curves(name, "envelope")
        rows.append({"clip": name, "predictor": "package", **scorer.score_curve(reference, found)})
        rows.append({"clip": name, "predictor": "envelope", **scorer.score_curve(reference, envelope)})
        curves[name] = (speech, motion, reference, found)
    return rows, curves


def plot_clip(
    name: str, speech: Speech, motion: FaceMotion, reference: dict[str, Any], found: dict[str, Any], path: Path
) -> None:
    """Waveform, lip opening of speaker and package, and the strongest weights."""
    figure, axes = plt.subplots(3, 1, figsize=(12, 7), sharex=True)
    axes[0].plot(np.arange(len(speech.samples)) / SAMPLE_RATE, speech.samples, lw=0.3)
    axes[0].set_title(name)
    axes[1].plot(reference["t"], reference["aperture"], label="speaker")
    axes[1].plot(found["t"], found["aperture"], label="package")
    axes[1].set_ylabel("lip opening / eye distance")
    axes[1].legend(loc="upper right")
    for index in np.argsort(-motion.weights.std(0))[:6]:
        axes[2].plot(motion.times, motion.weights[:, index], label=motion.names[index], lw=0.8)
    axes[2].legend(loc="upper right", fontsize=7)
    axes[2].set_xlabel("seconds")
    figure.tight_layout()
    figure.savefig(path, dpi=90)
    plt.close(figure)


def table(rows: list[dict[str, Any]], columns: tuple[str, ...]) -> str:
    """A Markdown table."""

    def cell(value: Any) -> str:
        if isinstance(value, float):
            return "–" if not np.isfinite(value) else f"{value:.0f}" if abs(value) >= 20 else f"{value:.2f}"
        return str(value)

    lines = ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    lines += ["| " + " | ".join(cell(row.get(column, "")) for column in columns) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("package", type=Path)
    parser.add_argument("--out", type=Path, default=Path("report"))
    parser.add_argument("--eval", type=Path, default=Path("../shared/eval"))
    parser.add_argument("--flame", type=Path, default=Path("../shared/flame/flame2023open_subset.npz"))
    parser.add_argument("--style", default="neutral")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    model = LipSyncModel.load(options.package)
    template = np.load(options.flame)["v_template"]
    rows, curves = score_clips(model, options.eval, template, options.style)
    quiet = rest_figures(model)
    for name, (speech, motion, reference, found) in curves.items():
        plot_clip(name, speech, motion, reference, found, options.out / f"{name}.png")
    text = f"# {model.package.name} {model.package.version}\n\n"
    text += "## Lips of real speakers\n\n" + table(rows, ("clip", "predictor", *COLUMNS))
    text += "\n## Nobody speaks\n\n" + table(quiet, ("sound", "mean_mm", "max_mm", "speed_mm_s"))
    (options.out / "report.md").write_text(text, encoding="utf-8")
    (options.out / "scores.json").write_text(json.dumps({"clips": rows, "rest": quiet}, indent=1, default=float))
    print(text)


if __name__ == "__main__":
    main()
