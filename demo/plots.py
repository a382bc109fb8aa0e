# SPDX-License-Identifier: GPL-3.0-or-later
"""Two pictures of the result: the speech over its curves, and a sheet of frames with the sounds they belong to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import soundfile

CURVES = 11  # how many of the most active shape keys are drawn
TELLING = ("M", "B", "P", "F", "V", "W", "UW", "AY", "EY", "OY", "AA", "IY", "EH", "L", "CH")
LEAD = 0.085  # seconds by which the model's lips lead the sound (training/targets)


def read_phones(speech: Path) -> list[tuple[float, float, str]]:
    """Phones (start, end, ARPABET) in seconds from the file beside the speech; none where there is no such file."""
    beside = speech.with_suffix(".json")
    if not beside.exists():
        return []
    return [(a, b, p) for a, b, p in json.loads(beside.read_text(encoding="utf-8"))["phones"]]


def draw_curves(speech: Path, curves: Any, fps: float, path: Path) -> None:
    """Waveform with phones on top, then one row per shape key, the most active ones, over seconds."""
    sound, rate = soundfile.read(speech, dtype="float32", always_2d=True)
    weights = {n: (keys.frames - 1, keys.values) for n, keys in zip(curves.names, curves.keys, strict=True)}
    names = _one_side(sorted(weights, key=lambda n: -np.ptp(weights[n][1])))[:CURVES]
    figure, axes = plt.subplots(len(names) + 1, 1, figsize=(14, 9), sharex=True, height_ratios=[2.2] + [1] * len(names))
    axes[0].plot(np.arange(len(sound)) / rate, sound[:, 0], lw=0.4, color="#334455")
    axes[0].set_ylabel("speech", rotation=0, ha="right", va="center")
    for start, end, phone in read_phones(speech):
        if phone != "SIL":
            closed = phone in ("M", "B", "P")
            axes[0].text(
                (start + end) / 2,
                1.03,
                phone,
                transform=axes[0].get_xaxis_transform(),
                ha="center",
                fontsize=8,
                color="#b02020" if closed else "#555555",
                weight="bold" if closed else "normal",
            )
            if closed:
                for axis in axes:
                    axis.axvspan(start, end, color="#b02020", alpha=0.08, lw=0)
    for axis, name in zip(axes[1:], names, strict=True):
        frames, values = weights[name]
        axis.fill_between(frames / fps, values, color="#4a7ba6", alpha=0.45, lw=0)
        axis.plot(frames / fps, values, color="#24507a", lw=1)
        axis.set_ylim(0, max(0.25, 1.05 * values.max()))
        axis.set_ylabel(name, rotation=0, ha="right", va="center")
    for axis in axes:
        axis.set_yticks([])
        axis.spines[["top", "right", "left"]].set_visible(False)
    axes[-1].set_xlabel(
        "seconds (red: m, b, p; the lips lead the sound by two frames)" if read_phones(speech) else "seconds"
    )
    axes[-1].set_xlim(0, len(sound) / rate)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _one_side(names: list[str]) -> list[str]:
    """Names without the right halves of what the left half shows already."""
    return [n for n in names if not (n.endswith("Right") and f"{n[:-5]}Left" in names)]


def draw_sheet(frames: list[Path], speech: Path, fps: float, path: Path, columns: int = 5, rows: int = 3) -> None:
    """Frames at telling sounds, spread over the speech, with their times; evenly spaced where no phones are known."""
    moments = _moments(read_phones(speech), len(frames) / fps, columns * rows)
    figure, axes = plt.subplots(rows, columns, figsize=(columns * 2.6, rows * 2.6), facecolor="#15181c")
    for axis in axes.ravel():
        axis.axis("off")
    for axis, (time, label) in zip(axes.ravel(), moments, strict=False):
        picture = plt.imread(frames[min(len(frames) - 1, round(time * fps))])
        high, wide = picture.shape[:2]
        inset = (wide - high) // 2
        axis.imshow(picture[:, inset : inset + high] if inset > 0 else picture)
        axis.set_title(f"{time:.2f} s   {label}", color="white", fontsize=11, pad=4)
    figure.tight_layout(pad=0.6)
    figure.savefig(path, dpi=100, facecolor=figure.get_facecolor())
    plt.close(figure)


def _moments(phones: list[tuple[float, float, str]], seconds: float, count: int) -> list[tuple[float, str]]:
    """`count` moments (seconds, label) in order: the lips of telling phones, as many different ones as possible."""
    seen: dict[str, int] = {}
    ranked = []
    for start, end, phone in phones:
        if phone in TELLING:
            seen[phone] = seen.get(phone, 0) + 1
            ranked.append((seen[phone], TELLING.index(phone), max(0.0, (start + end) / 2 - LEAD), phone))
    chosen = sorted((time, phone) for _, _, time, phone in sorted(ranked)[:count])
    return chosen or [(time, "") for time in np.linspace(0, seconds, count, endpoint=False).tolist()]
