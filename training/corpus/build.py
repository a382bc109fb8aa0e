# SPDX-License-Identifier: GPL-3.0-or-later
"""Fill the cache: real speech is listed, non-speech made and music played, then sentences synthesised one by one.

Clip number i depends on the seed and i alone, so a run can be interrupted and resumed, and a prefix of the corpus is a
fair sample of it: training may begin while the rest is being made.
"""

from __future__ import annotations

import os
import subprocess
from collections import Counter, deque
from collections.abc import Callable, Generator
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import count, islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TextIO, TypeVar

import numpy as np
import soundfile
from tqdm import tqdm

from ..config import SAMPLE_RATE
from . import orchestra
from .clips import Clip, drop_partial_line, read_clips
from .convert import Conversion, convert
from .engines import synthesise
from .nonspeech import MAKERS
from .real import read_real
from .texts import Texts
from .voices import VOICES, Voice, foreign_voices

CONVERTED_SHARE = 0.35
DEV_SHARE = 0.02
SHORTEST, LONGEST = 1.0, 10.0  # seconds
PIECE = 24.0  # seconds of one piece of music


@dataclass(frozen=True)
class Profile:
    """How much to make: hours of synthetic speech, most of it English; hours more of other languages; minutes of
    non-speech and of music; and how many real clips to list at most.
    """

    speech_hours: float
    foreign_hours: float
    nonspeech_minutes: float
    music_minutes: float
    real_clips: int | None


PROFILES = {
    "small": Profile(0.35, 0.05, 2.0, 2.0, 300),
    "cpu": Profile(14.0, 3.0, 30.0, 90.0, None),
    "full": Profile(17.0, 6.0, 30.0, 90.0, None),
}


def build(cache: Path, speech_folder: Path, profile: Profile, seed: int = 0) -> None:
    """Make what is still missing of ``profile`` in ``cache``; progress goes to the terminal.

    Raises OSError when no speech engine is installed or the disk can't be written.
    """
    cache.mkdir(parents=True, exist_ok=True)
    listing = cache / "clips.jsonl"
    drop_partial_line(listing)
    done = list(read_clips(cache))
    with listing.open("a", encoding="utf-8") as out:
        _list_real(out, done, speech_folder, profile)
        _make_nonspeech(out, done, cache, profile, seed)
        _make_music(out, done, cache, profile, seed)
        texts = Texts(speech_folder, seed)
        voices = [voice for voice in VOICES if voice.language in texts.languages()]
        _make_speech(out, done, cache, texts, voices, profile.speech_hours, [seed, 2], "synthetic")
        foreign = [voice for voice in (*VOICES, *foreign_voices()) if voice.language in texts.languages() - {"en"}]
        _make_speech(out, done, cache, texts, foreign, profile.foreign_hours, [seed, 3], "foreign")


def _add(out: TextIO, clip: Clip) -> None:
    out.write(clip.line() + "\n")
    out.flush()


def _write(cache: Path, name: str, speech: np.ndarray) -> str:
    """Write FLAC under ``cache`` in folders of at most a thousand files; returns the path relative to it."""
    path = Path("audio") / name[: name.rfind("-")] / name[-6:-3] / f"{name}.flac"
    (cache / path).parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(cache / path, np.clip(speech, -1, 1), SAMPLE_RATE, subtype="PCM_16")
    return path.as_posix()


def _list_real(out: TextIO, done: list[Clip], folder: Path, profile: Profile) -> None:
    known = {clip.id for clip in done}
    clips = sorted(read_real(folder), key=lambda c: (c.phones is None, c.id))
    if profile.real_clips is not None:
        aligned = [c for c in clips if c.phones is not None]
        clips = aligned[:: max(1, len(aligned) // profile.real_clips)]
    for clip in clips:
        if clip.id not in known:
            _add(out, clip)


def _make_nonspeech(out: TextIO, done: list[Clip], cache: Path, profile: Profile, seed: int) -> None:
    mine = [c for c in done if c.id.startswith("nonspeech-")]
    seconds, index = sum(c.seconds for c in mine), len(mine)
    kinds = list(MAKERS)
    with tqdm(total=round(profile.nonspeech_minutes * 60), initial=round(seconds), desc="non-speech", unit="s") as bar:
        while seconds < profile.nonspeech_minutes * 60:
            rng = np.random.default_rng([seed, 1, index])
            kind, length = kinds[index % len(kinds)], float(rng.uniform(3, 9))
            sound = MAKERS[kind](int(length * SAMPLE_RATE), rng)
            _add(out, _nobody(cache, f"nonspeech-{index:06d}", kind, sound))
            seconds, index = seconds + length, index + 1
            bar.update(length)


def _nobody(cache: Path, name: str, kind: str, sound: np.ndarray) -> Clip:
    """Write a clip in which nobody speaks; every twentieth is for development."""
    seconds = len(sound) / SAMPLE_RATE
    split = "dev" if int(name.rsplit("-", 1)[1]) % 20 == 19 else "train"
    audio = _write(cache, name, sound)
    silence = [(0.0, seconds, "SIL")]
    return Clip(name, audio, "nobody", "none", "", f"nonspeech:{kind}", "P", split, seconds, silence)


def _make_music(out: TextIO, done: list[Clip], cache: Path, profile: Profile, seed: int) -> None:
    first, wanted = sum(c.id.startswith("music-") for c in done), round(profile.music_minutes * 60 / PIECE)
    if first >= wanted:
        return
    with (
        tqdm(total=wanted, initial=first, desc="music", unit="piece") as bar,
        closing(_in_order(partial(_play_number, cache, seed), first)) as pieces,
    ):
        for clip in islice(pieces, wanted - first):
            _add(out, clip)
            bar.update()


def _play_number(cache: Path, seed: int, number: int) -> Clip:
    sound = orchestra.play(PIECE, np.random.default_rng([seed, 4, number]))
    return _nobody(cache, f"music-{number:06d}", "orchestra", sound)


def _make_speech(
    out: TextIO, done: list[Clip], cache: Path, texts: Texts, voices: list[Voice], hours: float, stream: list[int],
    prefix: str,
) -> None:  # fmt: skip
    """Clips `prefix`-000000, … until there are `hours` of them; clip i is drawn from the random stream (*stream, i)."""
    mine = [c for c in done if c.id.startswith(f"{prefix}-")]
    seconds = sum(c.seconds for c in mine)
    first = max((int(c.id.rsplit("-", 1)[1]) for c in mine), default=-1) + 1
    rejected: Counter[str] = Counter()
    made = tried = 0
    wanted = hours * 3600
    if seconds >= wanted:
        return
    speak = partial(_speak_number, cache, prefix, texts, voices, stream)
    with (
        tqdm(total=round(wanted), initial=round(seconds), desc=f"{prefix} speech", unit="s") as bar,
        closing(_in_order(speak, first)) as outcomes,
    ):
        for clip, problem in outcomes:
            tried += 1
            if clip is None:
                rejected[problem] += 1
                if tried >= 50 and made < tried / 4:
                    raise OSError(
                        f"Most sentences fail ({rejected.most_common(3)}); run training/corpus/setup_engines.sh."
                    )
                continue
            _add(out, clip)
            made += 1
            seconds += clip.seconds
            bar.update(clip.seconds)
            if seconds >= wanted:
                break
    if rejected:
        print(f"{tried - made} of {tried} sentences were dropped:", dict(rejected))


Outcome = tuple[Clip | None, str]
Made = TypeVar("Made")


def _in_order(make: Callable[[int], Made], first: int) -> Generator[Made, None, None]:
    """`make(first)`, `make(first + 1)`, … in this order, worked out by one process per core.

    What was worked out ahead when nobody asks any more is thrown away; a later run makes the same again.
    """
    workers = os.cpu_count() or 1
    with ProcessPoolExecutor(workers, get_context("fork"), _keep, (make,)) as pool:  # forked: texts are not sent
        numbers = count(first)
        ahead = deque(pool.submit(_kept, number) for number in islice(numbers, 4 * workers))
        try:
            while True:
                yield ahead.popleft().result()
                ahead.append(pool.submit(_kept, next(numbers)))
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


_make_kept: Callable[[int], Any]


def _keep(make: Callable[[int], Any]) -> None:
    global _make_kept
    _make_kept = make


def _kept(number: int) -> Any:
    return _make_kept(number)


def _speak_number(
    cache: Path, prefix: str, texts: Texts, voices: list[Voice], stream: list[int], number: int
) -> Outcome:  # fmt: skip
    """Clip `number` of a stream, or None and what was wrong with it."""
    rng = np.random.default_rng([*stream, number])
    shares = np.array([v.share for v in voices])
    voice = voices[int(rng.choice(len(voices), p=shares / shares.sum()))]
    try:
        text = texts.draw(voice.language, number, rng)
        return _speak(cache, f"{prefix}-{number:06d}", voice, text, rng), ""
    except (ValueError, subprocess.SubprocessError, soundfile.LibsndfileError, FileNotFoundError) as problem:
        return None, f"{voice.engine}: {type(problem).__name__}"


def _speak(cache: Path, name: str, voice: Voice, text: str, rng: np.random.Generator) -> Clip:
    """Synthesise, perhaps convert, and write one clip; ValueError when it is too short, too long or badly labelled."""
    rate = float(np.clip(np.exp(rng.normal(0, 0.13)), 0.8, 1.3))
    pitch = float(np.exp(rng.normal(0, 0.08)))
    speech, phones = synthesise(voice, text, rate, pitch, float(rng.uniform(0.35, 0.75)))
    seconds = len(speech) / SAMPLE_RATE
    if not SHORTEST <= seconds <= LONGEST:
        raise ValueError(f"The clip lasts {seconds:.1f} s.")
    speaker = voice.speaker
    if voice.split == "train" and rng.random() < CONVERTED_SHARE:
        how = Conversion.draw(rng)
        speech = convert(speech, how, rng)
        speaker += f"~{how.pitch:.2f},{how.formants:.2f}"
    split = "dev" if voice.split == "train" and rng.random() < DEV_SHARE else voice.split
    audio = _write(cache, name, speech)
    return Clip(name, audio, speaker, voice.language, text, f"synthetic:{voice.engine}", "P", split, seconds, phones)
