# SPDX-License-Identifier: GPL-3.0-or-later
"""What the lips do when they should do nothing: sounds without speech, still moments of speakers, seams of windows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from inference import AudioError, FaceMotion, LipSyncModel, Speech, read_speech
from inference.flame import INNER_LIPS
from inference.windows import plan_windows

from .. import augment
from ..closures import lip_gap, opening_slope
from ..config import SAMPLE_RATE
from ..geometry import EYES
from .clips import EvalSet

LARGEST_OPENING, LARGEST_SPEED = 1.0, 5.0  # mm above the neutral face, mm/s: what counts as rest
STILL, AROUND = (
    1.0,
    0.2,
)  # the speaker is still where the opening varies by less than this (mm) this long either way (s)
LIPS = sorted({vertex for pair in INNER_LIPS for vertex in pair})
SOUNDS = (".wav", ".flac", ".ogg", ".opus", ".mp3")


def nonspeech(seconds: float = 20.0) -> dict[str, np.ndarray]:
    """Sound in which nobody speaks, made with another seed than the training's; a minute of a synthesiser's tones."""
    random, count = np.random.default_rng(20_000), int(seconds * SAMPLE_RATE)
    return {
        "digital silence": np.zeros(count, np.float32),
        "dither": random.uniform(-1, 1, count).astype(np.float32) / 32768,
        "mains hum, -30 dB": augment.hum(random, count) * 10**-1.5,
        "white noise, -40 dB": augment.coloured_noise(random, count, 0.0) * 0.01,
        "white noise, -20 dB": augment.coloured_noise(random, count, 0.0) * 0.1,
        "brown noise, -25 dB": augment.coloured_noise(random, count, 2.0) * 10**-1.25,
        "breathing, -35 dB": augment.breath(random, count) * 10**-1.75,
        "tones, -20 dB": augment.tones(random, 3 * count) * 0.1,
        "tones, -10 dB": augment.tones(random, 3 * count) * 10**-0.5,
        "laughter, -20 dB": augment.laughter(random, count) * 0.1,
    }


def recordings(folder: Path, seconds: float = 60.0, decibels: float = -20.0) -> Iterator[tuple[str, np.ndarray]]:
    """(name, samples) of the first minute of every sound below `folder`, all at one level; what is no sound is skipped.

    Raises FileNotFoundError when there is none.
    """
    found = False
    for path in sorted(path for path in folder.rglob("*") if path.suffix.lower() in SOUNDS):
        try:
            sound = read_speech(path).samples[: int(seconds * SAMPLE_RATE)]
        except AudioError:
            continue
        found = True
        yield path.name, augment.unit_power(sound) * np.float32(10 ** (decibels / 20))
    if not found:
        raise FileNotFoundError(f"There is no recording in {folder}.")


def rest_figures(
    model: LipSyncModel, sounds: Iterable[tuple[str, np.ndarray]], style: str | None = None
) -> list[dict[str, Any]]:
    """Mean and largest opening above the neutral face (mm) and mean and largest speed of the opening (mm/s)."""
    rows = []
    for name, sound in sounds:
        motion = model.run(Speech(np.clip(sound, -1, 1)), style)
        opening = motion.weights @ opening_slope(motion)
        speed = np.abs(np.diff(opening)) * motion.fps
        rows.append({
            "sound": name, "mean_mm": float(opening.mean()), "max_mm": float(opening.max()),
            "speed_mm_s": float(speed.mean()), "max_speed_mm_s": float(speed.max()),
            "at rest": bool(opening.mean() < LARGEST_OPENING and speed.mean() < LARGEST_SPEED),
        })  # fmt: skip
    return rows


def jerk(curve: np.ndarray, fps: float) -> np.ndarray:
    """Third derivative of a curve (T, ...) by differences: (T - 3, ...), unit per s³."""
    return np.diff(curve, 3, axis=0) * fps**3


def still_frames(opening: np.ndarray, fps: float) -> np.ndarray:
    """Which frames (T,) lie where `opening` (mm) keeps within STILL for AROUND seconds before and after."""
    reach = round(AROUND * fps)
    padded = np.pad(opening, reach, mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1)
    return np.ptp(windows, axis=1) < STILL


def jitter(model: LipSyncModel, clips: EvalSet, style: str) -> list[dict[str, Any]]:
    """Root mean square jerk (m/s³) of the lip opening where the speaker keeps still, speaker and model, per clip.

    Both at the video's rate, since jerk grows with the cube of it. `lips`: the same of the inner-lip vertices, which
    the video does not have.
    """
    rows = []
    for clip in clips.clips:
        motion = model.run(clip.speech, style)
        times, reference = clip.reference["t"], clip.reference["aperture"].astype(float) * EYES / 1000
        inside = (times >= 0) & (times <= motion.times[-1])  # frames that nobody tracked stay: they are a gap in time
        times, reference = times[inside], reference[inside]
        fps = 1 / float(np.median(np.diff(times)))
        gap = np.interp(times, motion.times, lip_gap(motion)) / 1000
        still = still_frames(reference * 1000, fps)[1:-2]
        places = motion.at_rate(fps)
        lips = jerk(places.weights @ places.basis[:, LIPS].reshape(len(places.names), -1), fps)
        near = np.clip(np.round(times[1:-2][still] * fps).astype(int) - 1, 0, len(lips) - 1)
        rows.append({
            "clip": clip.name, "still": float(still.mean()), "speaker": _rms(jerk(reference, fps)[still]),
            "model": _rms(jerk(gap, fps)[still]), "lips": _rms(lips[near]) * 3**0.5,
        })  # fmt: skip
    return rows


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values)))) if values.size else float("nan")


def ten_minutes(folder: Path, seconds: float = 600.0) -> Speech:
    """Sentences of many readers of LibriSpeech in `folder`, one after the other, always the same.

    Raises FileNotFoundError when they do not last `seconds`.
    """
    paths = sorted((folder / "librispeech").glob("*.opus"))
    pieces, count = [], 0
    for index in np.random.default_rng(23).permutation(len(paths)):
        pieces.append(read_speech(paths[index]).samples)
        count += len(pieces[-1])
        if count >= seconds * SAMPLE_RATE:
            return Speech(np.concatenate(pieces)[: int(seconds * SAMPLE_RATE)])
    raise FileNotFoundError(f"There are not {seconds:g} s of LibriSpeech below {folder}; give its folder with --real.")


def seam_frames(model: LipSyncModel, speech: Speech) -> np.ndarray:
    """Which frames (T,) two windows of the encoder, or two stretches of the decoder, share."""
    package, heard = model.package, model.encoder.loudness(speech)
    loudness, per_frame = motion_loudness(model, heard), package.memory_per_frame
    shared = np.zeros(len(loudness), bool)
    for values, each, longest in ((heard, per_frame, package.encoder_longest), (loudness, 1, package.decoder_longest)):
        windows = plan_windows(values, package.fps * each, longest)
        for (_, last), (first, _) in pairwise(windows):
            shared[first // each : -(-last // each)] = True
    return shared


def motion_loudness(model: LipSyncModel, heard: np.ndarray) -> np.ndarray:
    """Mean square of the speech per frame of the model's motion (T,), from `heard`, that per memory frame."""
    loudness: np.ndarray = heard.reshape(-1, model.package.memory_per_frame).mean(axis=1)
    return loudness


def seams(model: LipSyncModel, speech: Speech, style: str) -> dict[str, Any]:
    """Largest and mean step per frame (mm) of an inner-lip vertex where windows meet, and everywhere else.

    Windows meet at quiet places, so the fair comparison is `quiet`: frames elsewhere that are no louder.
    """
    motion = model.run(speech, style)
    steps = lip_steps(motion)
    shared = seam_frames(model, speech)[: len(steps)]
    loudness = motion_loudness(model, model.encoder.loudness(speech))[: len(steps)]
    quiet = ~shared & (loudness <= np.quantile(loudness[shared], 0.95)) if shared.any() else ~shared
    found: dict[str, Any] = {"minutes": speech.duration / 60, "seams": int((np.diff(shared.astype(int)) == 1).sum())}
    for name, where in (("seam", shared), ("quiet", quiet), ("elsewhere", ~shared)):
        found |= {f"{name} mean": float(steps[where].mean()), f"{name} 99.9 %": float(np.quantile(steps[where], 0.999)),
                  f"{name} max": float(steps[where].max())} if where.any() else {}  # fmt: skip
    return found


def lip_steps(motion: FaceMotion) -> np.ndarray:
    """Largest distance (T - 1,) in mm that an inner-lip vertex moves from frame to frame."""
    places = (motion.weights @ motion.basis[:, LIPS].reshape(len(motion.names), -1)).reshape(-1, len(LIPS), 3)
    return np.linalg.norm(np.diff(places, axis=0), axis=2).max(axis=1) * 1000
