# SPDX-License-Identifier: GPL-3.0-or-later
"""The report's pictures: one per clip, how late the lips are, and what is left under worse conditions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from inference import FaceMotion

from ..config import SAMPLE_RATE
from ..metrics import sync_offset
from .clips import Curves, EvalClip, EvalSet
from .robustness import KEPT

SPEAKER, PACKAGE, OTHER = "#303030", "#c0392b", "#7f9fbf"
SHAPES = 10  # blendshapes drawn beneath the spectrogram
WINDOW, HOP, RATE = 2.0, 0.5, 100.0  # seconds, seconds, Hz: of the lags


@dataclass(frozen=True)
class Result:
    """A clip with what the package made of it, its scores, and the curves of the baselines by name."""

    clip: EvalClip
    motion: FaceMotion
    found: Curves
    scores: dict[str, float]
    baselines: dict[str, Curves]


def closure_times(clips: EvalSet, curves: Curves, speech: np.ndarray) -> np.ndarray:
    """Times (s) of closures, as the scorer finds them in a curve's own range."""
    opening = np.asarray(curves["aperture"], float)
    low, high = np.nanpercentile(opening, [2, 95])
    times: np.ndarray = clips.scorer.closures(np.asarray(curves["t"]), opening, low, high, speech=speech)[0]
    return times


def plot_clip(clips: EvalSet, result: Result, path: Path) -> None:
    """Spectrogram, weights, lip opening of speaker and package, and when either closes the lips."""
    figure, axes = plt.subplots(4, 1, figsize=(13, 9), sharex=True, height_ratios=[2, 2.4, 3, 0.8])
    clip, scores = result.clip, result.scores
    with np.errstate(divide="ignore"):  # of digital silence
        axes[0].specgram(clip.speech.samples, NFFT=512, Fs=SAMPLE_RATE, noverlap=384, cmap="magma", vmin=-120)
    axes[0].set_ylim(0, 8000)
    axes[0].set_ylabel("Hz")
    closures = f"closures found {scores['rec']:.0%} of {scores['n_close']:.0f}" if scores["n_close"] else "no closures"
    axes[0].set_title(
        f"{clip.name}: r_ap {scores['r_ap']:.2f}, lag {scores['lag']:.0f} ms, amplitude {scores['amp']:.2f}, {closures}"
    )
    _draw_weights(axes[1], result.motion)
    _draw_opening(axes[2], result)
    _draw_closures(axes[3], clips, result)
    axes[3].set_xlim(0, clip.speech.duration)
    axes[3].set_xlabel("seconds")
    _save(figure, path)


def _draw_weights(axis: Axes, motion: FaceMotion) -> None:
    liveliest = np.sort(np.argsort(-motion.weights.std(0))[:SHAPES])
    weights = motion.weights[:, liveliest].T
    shown = np.abs(weights) / np.maximum(np.abs(weights).max(1, keepdims=True), 1e-6)
    axis.imshow(shown, aspect="auto", cmap="viridis", interpolation="nearest", extent=(0, motion.duration, SHAPES, 0))
    labels = [f"{motion.names[i]} ≤{np.abs(w).max():.2f}" for i, w in zip(liveliest, weights, strict=True)]
    axis.set_yticks(np.arange(len(labels)) + 0.5, labels, fontsize=7)


def _draw_opening(axis: Axes, result: Result) -> None:
    reference, found = result.clip.reference, result.found
    for name, curves in result.baselines.items():
        scaled = _like(np.asarray(curves["aperture"], float), reference["aperture"])
        axis.plot(
            curves["t"], scaled, color=OTHER, lw=0.9, ls="--" if name == "Rhubarb" else ":", label=f"{name}, scaled"
        )
    axis.plot(reference["t"], reference["aperture"], color=SPEAKER, lw=1.8, label="speaker")
    axis.plot(found["t"], found["aperture"], color=PACKAGE, lw=1.6, label="package")
    axis.set_ylabel("lip opening / eye distance")
    axis.legend(loc="upper right", fontsize=8, ncols=4)
    first, last = reference["speech"]
    axis.axvspan(first, last, color="#888888", alpha=0.08, lw=0)


def _like(curve: np.ndarray, model: np.ndarray) -> np.ndarray:
    """`curve` with the mean and spread of `model`."""
    return (curve - np.nanmean(curve)) / (np.nanstd(curve) + 1e-9) * np.nanstd(model) + np.nanmean(model)


def _draw_closures(axis: Axes, clips: EvalSet, result: Result) -> None:
    speech = result.clip.reference["speech"]
    rows = (("package", result.found, PACKAGE), ("speaker", result.clip.reference, SPEAKER))
    for row, (_, curves, colour) in enumerate(rows):
        times = closure_times(clips, curves, speech)
        axis.barh(np.full(len(times), row), 0.1, left=times - 0.05, height=0.7, color=colour)
    axis.set_yticks([0, 1], [f"closes: {name}" for name, _, _ in rows], fontsize=8)
    axis.set_ylim(-0.6, 1.6)


def window_lags(result: Result) -> np.ndarray:
    """Lag (ms, positive when the package is late) of every WINDOW of speech that was tracked and in which both move."""
    reference, found = result.clip.reference, result.found
    first, last = reference["speech"]
    times = np.arange(max(first - 0.2, 0), last + 0.2, 1 / RATE)
    truth, drawn = (np.interp(times, c["t"], c["aperture"]) for c in (reference, found))
    size, lags = int(WINDOW * RATE), []
    for start in range(0, max(1, len(times) - size + 1), int(HOP * RATE)):
        a, b = drawn[start : start + size], truth[start : start + size]
        if len(a) > 41 and np.isfinite(b).all() and min(np.ptp(a), np.ptp(b)) > 0.02:
            lags.append(1000 * sync_offset(a, b, RATE, reach=20))
    return np.array(lags)


def plot_lags(results: list[Result], path: Path) -> np.ndarray:
    """Histogram of the lags of all windows; returns them (ms). There is none of lips that hardly move."""
    lags = np.concatenate([window_lags(result) for result in results])
    figure, axis = plt.subplots(figsize=(8, 4))
    axis.hist(lags, bins=np.arange(-205, 206, 10).tolist(), color=PACKAGE)
    axis.axvspan(-25, 25, color="#2e8b57", alpha=0.15, lw=0, label="±25 ms")
    if len(lags):
        axis.axvline(float(np.median(lags)), color=SPEAKER, label=f"median {np.median(lags):.0f} ms")
    else:
        axis.set_title("There is no window in which the lips of both move.")
    axis.set_xlabel(f"lag of {WINDOW:g} s windows (ms; positive: lips late)")
    axis.set_ylabel(f"windows of {len(lags)}")
    axis.legend()
    _save(figure, path)
    return lags


def plot_robustness(rows: list[dict[str, Any]], path: Path) -> None:
    """Share of its own clean r_ap that the package keeps, per condition and clip."""
    conditions, clips = (list(dict.fromkeys(row[key] for row in rows)) for key in ("condition", "clip"))
    figure, axis = plt.subplots(figsize=(11, 4.5))
    for index, condition in enumerate(conditions):
        kept = {row["clip"]: row["kept"] for row in rows if row["condition"] == condition}
        width = 0.8 / len(conditions)
        places = np.arange(len(clips)) + (index - (len(conditions) - 1) / 2) * width
        axis.bar(places, [kept[clip] for clip in clips], 0.9 * width, label=condition)
    axis.axhline(KEPT, color=SPEAKER, lw=1, ls="--")
    axis.set_xticks(np.arange(len(clips)), clips, fontsize=8)
    lowest = min((row["kept"] for row in rows if np.isfinite(row["kept"])), default=0.0)
    axis.set_ylim(max(-1.0, min(0.0, 1.1 * lowest)), 1.3)  # lips may follow noise the other way
    axis.set_ylabel("r_ap / clean r_ap")
    axis.legend(ncols=len(conditions), fontsize=8, loc="upper center")
    _save(figure, path)


def _save(figure: Any, path: Path) -> None:
    figure.tight_layout()
    figure.savefig(path, dpi=90)
    plt.close(figure)
