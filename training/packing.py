# SPDX-License-Identifier: GPL-3.0-or-later
"""The corpus as flat arrays that training maps into memory: samples, phones and targets, clip after clip.

Decoding hours of Opus and rendering targets takes minutes; doing it once leaves random access at no cost. The arrays
lie in shards of 512 lines of clips.jsonl, so that a corpus that grows, or new target rules, cost only what is new.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from tqdm import tqdm

from . import targets
from .config import FPS, HOP, NO_PHONE, PHONES, SAMPLE_RATE, STYLES
from .corpus.clips import parse_clip, watched
from .corpus.phones import Phone

LONGEST = 30.0  # seconds kept of a clip
PREROLL = round(0.8 * FPS)  # frames before a clip in which the lips prepare for it
SHARD = 512  # clips


@dataclass(frozen=True)
class Clip:
    """One clip of the packed corpus; all arrays are views at 50 Hz frames.

    about: its line in clips.jsonl. sound: int16 (frames · 320,). phones: int8 (frames,), classes of PHONES or NO_PHONE.
    faces: float16 (2, PREROLL + frames, K), weights in the neutral style and in STYLES[second], those before the clip
    included; None without an alignment.
    """

    about: dict[str, Any]
    sound: np.ndarray
    phones: np.ndarray
    faces: np.ndarray | None
    second: int

    @property
    def frames(self) -> int:
        """Length at 50 Hz."""
        return len(self.phones)

    @property
    def weights(self) -> np.ndarray | None:
        """`faces` from the beginning of the sound on: (2, frames, K)."""
        return None if self.faces is None else self.faces[:, PREROLL:]

    @property
    def real(self) -> bool:
        """True when a person spoke it."""
        return str(self.about["source"]).startswith("real:")

    @property
    def watched(self) -> bool:
        """True when training may watch it: see `corpus.clips.watched`."""
        return watched(self.about["id"], self.about["split"], self.about["language"])

    def speech(self) -> np.ndarray:
        """Samples as float32, full scale ±1."""
        return self.sound.astype(np.float32) / 32768


@dataclass(frozen=True)
class Corpus:
    """clips: every readable clip. names: K blendshapes of the targets. key: changes whenever the sound does."""

    clips: list[Clip]
    names: tuple[str, ...]
    key: str

    def choose(self, split: str) -> np.ndarray:
        """Indices of the clips of `split` that have targets."""
        return np.array([i for i, c in enumerate(self.clips) if c.about["split"] == split and c.faces is not None], int)


def frame_phones(phones: list[list[Any]] | None, frames: int) -> np.ndarray:
    """Phone classes int8 (frames,) at times i/50 s; silence outside the alignment, NO_PHONE without one."""
    labels = np.full(frames, NO_PHONE if phones is None else 0, np.int8)
    for start, end, phone in phones or ():
        labels[_frames_of(start, end)] = PHONES.index(phone) if phone in PHONES else 0
    return labels


def _frames_of(start: float, end: float) -> slice:
    """The frames whose times lie from `start` on and before `end` (s)."""
    return slice(int(np.ceil(start * FPS)), int(np.ceil(end * FPS)))


def second_style(identity: str) -> int:
    """The style beside neutral in which a clip's targets are kept: spread evenly, always the same for one clip."""
    return 1 + int(hashlib.sha256(identity.encode()).hexdigest(), 16) % (len(STYLES) - 1)


def after_silence(phones: list[Any]) -> list[Phone]:
    """`phones` PREROLL frames later, and silence until then."""
    later = PREROLL / FPS
    heard = [(start + later, end + later, name) for start, end, name in phones]
    silent = heard[0][2] == "SIL"
    return [(0.0, heard[0][1] if silent else later, "SIL"), *heard[1 if silent else 0 :]]


def faces_of(identity: str, phones: list[Any], frames: int) -> np.ndarray:
    """The rules' weights float16 (2, PREROLL + frames, K) for a clip's phones, in the neutral and in its second style.

    A clip may begin with a closure that the lips make before anything is heard: hence the PREROLL.
    """
    seed = int(hashlib.sha256(identity.encode()).hexdigest()[:8], 16)
    heard = after_silence(phones)
    face = np.empty((2, PREROLL + frames, len(targets.NAMES)), np.float16)
    for row, style in ((0, STYLES[0]), (1, STYLES[second_style(identity)])):
        rendered = targets.render(heard, FPS, style=style, seed=seed)
        face[row] = rendered[np.minimum(np.arange(PREROLL + frames), len(rendered) - 1)]
    return face


def with_labels(corpus: Corpus, path: str | Path) -> Corpus:
    """`corpus` with the labels of training.label for clips that nobody aligned; doubtful frames have NO_PHONE."""
    lines = Path(path).read_text(encoding="utf-8").split("\n")[:-1]
    labels = {label["id"]: label for label in map(json.loads, lines)}
    clips = []
    for clip in corpus.clips:
        label = labels.get(clip.about["id"])
        if label is not None and clip.faces is None:
            phones = frame_phones(label["phones"], clip.frames)
            for start, end in label["doubtful"]:
                phones[_frames_of(start, end)] = NO_PHONE
            clip = replace(clip, phones=phones, faces=faces_of(clip.about["id"], label["phones"], clip.frames))
        clips.append(clip)
    return replace(corpus, clips=clips)


def load_corpus(cache: str | Path, real: str | Path, processes: int = 2) -> Corpus:
    """Map the packed corpus of `cache`, packing what is new in clips.jsonl or changed in the target rules first.

    `real` is the folder that real clips' paths start from. Raises FileNotFoundError without a clips.jsonl, and when
    recordings that are not packed yet lie elsewhere: once packed, a shard would be without them for good; ValueError
    for a line that is no clip.
    """
    cache, real = Path(cache), Path(real)
    lines = [line for line in (cache / "clips.jsonl").read_text(encoding="utf-8").split("\n")[:-1] if line]
    groups = [lines[i : i + SHARD] for i in range(0, len(lines), SHARD)]
    rules = _rules_key()
    keys = [hashlib.sha256("\n".join(group).encode()).hexdigest()[:16] for group in groups]
    with ProcessPoolExecutor(processes) as pool:
        jobs = [
            pool.submit(_pack_shard, group, cache / "packed" / key, rules, cache, real)
            for group, key in zip(groups, keys, strict=True)
        ]
        for job in tqdm(jobs, "packing", unit="shard", mininterval=5):
            job.result()
    clips = [clip for key in keys for clip in _map_shard(cache / "packed" / key, rules)]
    return Corpus(clips, tuple(targets.NAMES), hashlib.sha256("".join(keys).encode()).hexdigest()[:16])


def open_corpus(parser: argparse.ArgumentParser, cache: Path, real: Path, processes: int = 2) -> Corpus:
    """`load_corpus` for a command line, where recordings that are not there, or of another rate, are wrong usage."""
    try:
        return load_corpus(cache, real, processes)
    except (FileNotFoundError, ValueError) as error:
        parser.error(str(error))


def _rules_key() -> str:
    sources = sorted(Path(targets.__file__).parent.glob("*.py"))
    return hashlib.sha256(b"".join(source.read_bytes() for source in sources) + bytes([PREROLL])).hexdigest()[:16]


def _packed(folder: Path) -> list[dict[str, Any]]:
    """What is known of the clips of a shard, in their order."""
    return [json.loads(line) for line in (folder / "clips.jsonl").read_text(encoding="utf-8").split("\n")[:-1]]


def _map_shard(folder: Path, rules: str) -> list[Clip]:
    samples, phones = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("samples", "phones"))
    weights = np.load(folder / f"weights-{rules}.npy", mmap_mode="r")
    abouts = _packed(folder)
    first = np.cumsum([0] + [about["frames"] for about in abouts])
    return [
        Clip(
            about, samples[a * HOP : b * HOP], phones[a:b],
            weights[:, a + n * PREROLL : b + (n + 1) * PREROLL] if about["phones"] else None,
            second_style(about["id"]),
        )
        for n, (about, (a, b)) in enumerate(zip(abouts, pairwise(first), strict=True))
    ]  # fmt: skip


def _pack_shard(lines: list[str], folder: Path, rules: str, cache: Path, real: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "clips.jsonl").exists():
        _pack_sound([asdict(parse_clip(line)) for line in lines], folder, cache, real)
    if (folder / f"weights-{rules}.npy").exists():
        return
    for old in folder.glob("weights-*"):
        old.unlink()
    abouts = _packed(folder)
    faces = []
    for about in abouts:
        if about["phones"]:
            faces.append(faces_of(about["id"], about["phones"], about["frames"]))
        else:
            faces.append(np.zeros((2, PREROLL + about["frames"], len(targets.NAMES)), np.float16))
    save_array(folder / f"weights-{rules}.npy", np.concatenate(faces, 1))


def _pack_sound(abouts: list[dict[str, Any]], folder: Path, cache: Path, real: Path) -> None:
    sounds, kept = [], []
    places = [path if (path := cache / about["audio"]).exists() else real / about["audio"] for about in abouts]
    people = [place for place, about in zip(places, abouts, strict=True) if about["source"].startswith("real:")]
    if people and not any(place.exists() for place in people):
        raise FileNotFoundError(f"The recordings of the corpus are not in “{real}”; name their folder with --real.")
    for about, place in zip(abouts, places, strict=True):
        try:
            sound, rate = soundfile.read(place, dtype="int16", frames=int(LONGEST * SAMPLE_RATE), always_2d=True)
        except (OSError, soundfile.LibsndfileError) as error:
            tqdm.write(f"left out {about['audio']}: {error}")
            continue
        if rate != SAMPLE_RATE:
            raise ValueError(f"{about['audio']} has {rate} Hz; give the corpus recordings of 16 kHz.")
        frames = max(1, len(sound) // HOP)
        sounds.append(np.pad(sound[:, 0], (0, max(0, frames * HOP - len(sound))))[: frames * HOP])
        kept.append({**about, "frames": frames})
    if not kept:
        raise FileNotFoundError(
            f"Nothing of the corpus in “{cache}” can be read; make it anew: python -m training.corpus."
        )
    save_array(folder / "samples.npy", np.concatenate(sounds))
    save_array(
        folder / "phones.npy", np.concatenate([frame_phones(about["phones"], about["frames"]) for about in kept])
    )
    part = folder / f"clips.jsonl.{os.getpid()}"  # its being there says that the sound is packed
    part.write_text("".join(json.dumps(about) + "\n" for about in kept), encoding="utf-8")
    part.replace(folder / "clips.jsonl")


def save_array(path: Path, array: np.ndarray) -> None:
    """Write an array whole or not at all."""
    part = path.with_name(f"{path.name}.{os.getpid()}.npy")  # two runs may pack the same shard
    np.save(part, array)
    part.replace(path)
