# SPDX-License-Identifier: GPL-3.0-or-later
"""The same speech worse recorded or at another speed: does the model still see the lips?

Four conditions on every development clip: babble of eight other people 10 dB below the speech, a telephone line, and
the clip played at 0.8 and 1.25 times its speed (pitch included; the reference's times are scaled alike). A fifth where
recordings are given: music or noise 10 dB below. What counts is r_ap against the same model's on the clean clip:
at least .9 of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soxr

from inference import LipSyncModel, Speech, read_speech

from ..augment import unit_power
from ..config import SAMPLE_RATE
from .clips import Curves, EvalClip, EvalSet

KEPT = 0.9  # of its own r_ap
SPEAKERS = 8  # in the babble
DRAWS = 3  # of babble, and of recordings, per clip: one draw moves r_ap by some .02


def babble(voices: list[np.ndarray], count: int, random: np.random.Generator) -> np.ndarray:
    """`count` samples of several voices at once, each of the same power and from a random place on: unit power."""
    mix = np.zeros(count, np.float32)
    for voice in voices:
        mix += np.take(unit_power(voice), np.arange(count) + random.integers(len(voice)), mode="wrap")
    return unit_power(mix)


def add_noise(speech: np.ndarray, noise: np.ndarray, decibels: float) -> np.ndarray:
    """`speech` with `noise` of the same length so many dB below it (mean powers over the whole clip)."""
    if not noise.any():  # silence has no power to be scaled
        return speech
    ratio = np.sqrt(np.mean(np.square(speech)) / np.mean(np.square(noise)) * 10 ** (-decibels / 10))
    mixed = speech + np.float32(ratio) * noise
    return mixed / max(1.0, float(np.abs(mixed).max()))


def telephone(speech: np.ndarray) -> np.ndarray:
    """`speech` as a telephone line passes it on: 300 to 3400 Hz, 8 kHz, 8 bits of mu-law (ITU-T G.711, mu = 255)."""
    narrow = soxr.resample(speech, SAMPLE_RATE, 8000)
    spectrum = np.fft.rfft(narrow)
    frequency = np.fft.rfftfreq(len(narrow), 1 / 8000)
    narrow = np.fft.irfft(spectrum * ((frequency >= 300) & (frequency <= 3400)), len(narrow)).clip(-1, 1)
    code = np.round(127 * np.sign(narrow) * np.log1p(255 * np.abs(narrow)) / np.log(256)) / 127
    heard = np.sign(code) * np.expm1(np.abs(code) * np.log(256)) / 255
    return soxr.resample(heard, 8000, SAMPLE_RATE)[: len(speech)].astype(np.float32)


def at_speed(speech: np.ndarray, factor: float) -> np.ndarray:
    """`speech` played `factor` times as fast, higher or lower in pitch alike."""
    return soxr.resample(speech, SAMPLE_RATE * factor, SAMPLE_RATE).astype(np.float32)


def other_speakers(folder: Path) -> list[np.ndarray]:
    """A recording of some seconds from each of SPEAKERS readers of LibriSpeech in `folder`, always the same.

    Raises FileNotFoundError when there are too few.
    """
    readers: dict[str, Path] = {}
    for path in sorted((folder / "librispeech").glob("*.opus")):
        if path.stat().st_size > 20_000:  # about six seconds
            readers.setdefault(path.name.partition("-")[0], path)
    if len(readers) < SPEAKERS:
        raise FileNotFoundError(f"There are not {SPEAKERS} readers below {folder}; give the speech folder with --real.")
    chosen = np.random.default_rng(17).permutation(sorted(readers))[:SPEAKERS]
    return [read_speech(readers[name]).samples for name in chosen]


def conditions(
    clip: EvalClip, voices: list[np.ndarray], seed: int, background: Sequence[np.ndarray] = ()
) -> Iterator[tuple[str, np.ndarray, Curves]]:
    """(condition, what is heard, the reference for it); a condition may come several times."""
    samples = clip.speech.samples
    for draw in range(DRAWS):
        noise = babble(voices, len(samples), np.random.default_rng((seed, draw)))
        yield "babble 10 dB", add_noise(samples, noise, 10.0), clip.reference
    for draw in range(DRAWS if background else 0):
        random = np.random.default_rng((seed, DRAWS + draw))
        noise = babble([background[int(random.integers(len(background)))]], len(samples), random)
        yield "background 10 dB", add_noise(samples, noise, 10.0), clip.reference
    yield "telephone", telephone(samples), clip.reference
    for factor in (0.8, 1.25):
        yield f"speed {factor:g}", at_speed(samples, factor), clip.at_speed(factor)


def robustness(
    model: LipSyncModel, clips: EvalSet, voices: list[np.ndarray], style: str, background: Sequence[np.ndarray] = ()
) -> list[dict[str, Any]]:
    """One row per clip and condition: r_ap there, the clean one's, their ratio, r_sp the same way, and the lag (ms).

    The last rows, clip "mean", hold the means over clips and the ratio of these means.
    """
    rows: list[dict[str, Any]] = []
    for seed, clip in enumerate(clips.clips):
        clean = clips.score(clip.reference, clips.curves(model.run(clip.speech, style)))
        found: dict[str, list[dict[str, float]]] = {}
        for name, samples, reference in conditions(clip, voices, seed, background):
            curves = clips.curves(model.run(Speech(samples), style))
            found.setdefault(name, []).append(clips.score(reference, curves))
        rows += [_row(clip.name, name, clean, scores) for name, scores in found.items()]
    return rows + means(rows)


def kept(worse: float, clean: float) -> float:
    """What part of a correlation is left; NaN where there was none, as of lips that stand still."""
    return worse / clean if clean > 0 else float("nan")


def _row(clip: str, condition: str, clean: dict[str, float], scores: list[dict[str, float]]) -> dict[str, Any]:
    worse = {key: float(np.mean([score[key] for score in scores])) for key in ("r_ap", "r_sp", "lag")}
    return {"clip": clip, "condition": condition, "clean": clean["r_ap"], "kept": kept(worse["r_ap"], clean["r_ap"]),
            "clean r_sp": clean["r_sp"], **worse}  # fmt: skip


def means(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Per condition the means over clips, and the ratio of these means."""
    summary = []
    for name in dict.fromkeys(row["condition"] for row in rows):
        own = [row for row in rows if row["condition"] == name]
        mean = {key: float(np.mean([row[key] for row in own])) for key in own[0] if key not in ("clip", "condition")}
        summary.append({"clip": "mean", "condition": name, **mean, "kept": kept(mean["r_ap"], mean["clean"])})
    return summary
