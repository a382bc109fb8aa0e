# SPDX-License-Identifier: GPL-3.0-or-later
"""Training examples without padding: crops of fixed length, filled with clips, pauses and non-speech.

Each example is assembled from the packed corpus by a random generator seeded with (seed, step, item), so a run is
repeatable whatever the number of loader processes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from . import augment, targets
from .config import DENSE_STEP, FPS, HOP, NO_PHONE, SAMPLE_RATE, STYLES, Config
from .features import STEP, mel_filters
from .packing import PREROLL, Clip, Corpus

LATE, CAUGHT_UP = 4, 6  # frames: see `catch_up`
WARPS = np.linspace(0.86, 1.16, 13)  # vocal tract length factors


@dataclass
class Batch:
    """speech (B, N); phones (B, T); weights (B, T, K); known (B, T): frames that have targets; style (B, styles).

    clean (B, N): the speech without noises, rooms and lines; of noise alone that noise. warp (B,): index into WARPS.
    mask (B, 2 T, bands): SpecAugment. semantic (B, S): sentence vectors, or (B, 0).
    """

    speech: Tensor
    clean: Tensor
    phones: Tensor
    weights: Tensor
    known: Tensor
    style: Tensor
    warp: Tensor
    mask: Tensor
    semantic: Tensor

    @property
    def step(self) -> int:
        """Samples from one log-mel frame to the next."""
        return self.speech.shape[1] // self.mask.shape[1]


def warped_filters(bands: int) -> Tensor:
    """Mel filters for every entry of WARPS: (13, bands, BINS)."""
    return torch.tensor(np.stack([mel_filters(bands, warp) for warp in WARPS]))


def rest_pose() -> np.ndarray:
    """Weights of a silent face (K,)."""
    return targets.render([(0.0, 2.0, "SIL")], FPS, style="neutral", seed=0)[FPS]


def room_tone(random: np.random.Generator, speech: np.ndarray, count: int) -> np.ndarray:
    """`count` samples like the quietest of `speech`: a recording's silence must not tell where its clip begins."""
    frames = speech[: len(speech) // HOP * HOP].reshape(-1, HOP)
    quiet = frames[np.argsort(np.square(frames).mean(axis=1))[: max(1, len(frames) // 20)]]
    pieces = quiet[random.integers(0, len(quiet), count // HOP + 1)] * random.choice((-1, 1), (count // HOP + 1, 1))
    tone: np.ndarray = pieces.reshape(-1)[:count].astype(np.float32)
    return tone


def catch_up(weights: np.ndarray) -> np.ndarray:
    """Weights (T, K) of (LATE + T, K) that begin LATE frames before the sound does.

    Lips lead the sound, so a recording that begins at once with a p would begin with lips that have parted already.
    They begin as they were LATE frames ago instead, and catch up with the others within CAUGHT_UP frames.
    """
    first = np.round(np.arange(CAUGHT_UP) * (LATE + CAUGHT_UP) / CAUGHT_UP).astype(int)
    return np.concatenate([weights[first], weights[LATE + CAUGHT_UP :]])


def whole_frames(step: int) -> int:
    """The least number of corpus frames that are a whole number of network frames, too, of 2 `step` samples each."""
    return math.lcm(HOP, 2 * step) // HOP


def at_pace(phones: np.ndarray, weights: np.ndarray, step: int) -> tuple[np.ndarray, np.ndarray]:
    """Phones (T,) and weights (T, K) every HOP samples -> every 2 `step`: the nearest phone, weights in between."""
    last = len(phones) - 1
    places = np.arange(len(phones) * HOP // (2 * step)) * (2 * step / HOP)
    before = np.minimum(places.astype(int), last)
    after, part = np.minimum(before + 1, last), (places - before)[:, None]
    between: np.ndarray = (1 - part) * weights[before] + part * weights[after]
    return phones[np.where(part[:, 0] < 0.5, before, after)], between


class ExampleMaker:
    """Draws one example at a time; `semantics` (C, S) holds the sentence vector of every clip, or is None."""

    def __init__(
        self, corpus: Corpus, config: Config, split: str = "train", semantics: np.ndarray | None = None
    ) -> None:
        self.corpus, self.config, self.semantics = corpus, config, semantics
        usable = corpus.choose(split)
        seconds = np.array([corpus.clips[i].frames / FPS for i in usable])
        real = np.array([corpus.clips[i].real for i in usable], bool)
        english = np.array([corpus.clips[i].about["language"] == "en" for i in usable], bool)
        self.pools = []
        for which in (real, ~real):
            # Long clips hold more than one crop; short ones are joined: draw by the root of the length.
            weight = np.sqrt(seconds[which]) * np.where(english[which], 1.0, config.foreign_weight)
            self.pools.append((usable[which], np.cumsum(weight / weight.sum()) if which.any() else weight))
        self.rest = rest_pose()
        clips = [corpus.clips[i] for i in usable]
        voices = [clip.sound for clip in clips if clip.about["language"] != "none"]
        music = [clip.sound for clip in clips if clip.about["source"] == "nonspeech:orchestra"]
        self.bank = augment.NoiseBank(np.random.default_rng(config.seed), voices, music)

    def draw_clip(self, random: np.random.Generator, real: bool) -> int:
        """Index of a random clip from the real or the synthetic pool; from the other when one is empty."""
        pool, cumulative = self.pools[0 if real else 1]
        if not len(pool):
            pool, cumulative = self.pools[1 if real else 0]
        return int(pool[min(np.searchsorted(cumulative, random.random()), len(pool) - 1)])

    def make(self, random: np.random.Generator, frames: int, step: int = STEP) -> dict[str, np.ndarray]:
        """One example of `frames` frames of the corpus, before batching; what is known of them every 2 `step` samples.

        `frames` must be a multiple of `whole_frames(step)`.
        """
        style = int(random.choice(len(STYLES), p=[0.55, 0.15, 0.15, 0.15]))
        sound = np.zeros(frames * HOP, np.float32)
        phones = np.zeros(frames, np.int64)
        weights = np.tile(self.rest, (LATE + frames, 1))  # what the lips do just before is needed, too
        vector = np.zeros(self.semantics.shape[1] if self.semantics is not None else 0, np.float32)
        if random.random() < self.config.nonspeech_share:
            noise = self._nonspeech(random, sound)
            return self._finish(random, noise, noise, phones, weights[LATE:], style, vector, step)
        real, filled, ended, heard = random.random() < self.config.real_share, 0, 0, 0
        speed = random.uniform(0.75, 1.35) if random.random() < 0.5 else 1.0
        if random.random() < 0.4:
            filled = int(random.integers(0, round(1.2 * FPS)))
        while filled < frames - FPS // 4:
            index = self.draw_clip(random, real)
            clip = self.corpus.clips[index]
            need, start = int((frames - filled) * speed) + 1, 0
            if filled == 0 and clip.frames > need and random.random() < 0.8:
                start = int(random.integers(0, clip.frames - need + 1))
            end = min(clip.frames, start + need)
            if style and clip.second != style:
                if heard:  # what is there already has this style: leave the rest silent
                    break
                style = clip.second
            count = min(int((end - start) / speed), frames - filled)
            place = slice(filled, filled + count)
            piece = clip.sound[start * HOP : end * HOP].astype(np.float32) / 32768
            if speed != 1.0:
                piece = np.interp(np.arange(count * HOP) * speed, np.arange(len(piece)), piece).astype(np.float32)
            sound[filled * HOP : (filled + count) * HOP] = piece[: count * HOP]
            source = np.minimum(np.round(start + speed * np.arange(count)).astype(int), end - 1)
            phones[place] = clip.phones[source]
            begun = LATE + ended if heard else 0
            weights[begun : LATE + filled + count] = self._faces(
                clip, min(style, 1), start + speed * np.arange(begun - LATE - filled, count)
            )
            sound[ended * HOP : filled * HOP] = room_tone(random, piece, (filled - ended) * HOP)
            if self.semantics is not None:
                vector += self.semantics[index] * count
            heard += count
            ended = filled + count
            filled = ended + int(random.integers(0, FPS // 2))
        worse = augment.degrade(random, sound, self.bank, self.config.babble_share)
        return self._finish(random, worse, sound, phones, catch_up(weights), style, vector / max(heard, 1), step)

    def _faces(self, clip: Clip, row: int, places: np.ndarray) -> np.ndarray:
        """Weights (n, K) at `places`, frames of the clip: below 0 what the lips do before it, long before it rest."""
        assert clip.faces is not None  # choose() returned only such clips
        rows = np.round(PREROLL + places).astype(int)
        found: np.ndarray = clip.faces[row][rows.clip(0, clip.faces.shape[1] - 1)].astype(np.float64)
        found[rows < 0] = self.rest
        return found

    def _nonspeech(self, random: np.random.Generator, sound: np.ndarray) -> np.ndarray:
        if random.random() < 0.15:
            return sound + random.standard_normal(len(sound)).astype(np.float32) * 10 ** random.uniform(-6, -4)
        kind = self.bank.still if random.random() < 0.3 else self.bank.lively
        noise = kind(random, len(sound))
        if random.random() < 0.3:
            noise = augment.channel(random, noise)
        return np.clip(noise * 10 ** (random.uniform(-60, -14) / 20), -1, 1).astype(np.float32)

    def _finish(
        self, random: np.random.Generator, sound: np.ndarray, clean: np.ndarray, phones: np.ndarray,
        weights: np.ndarray, style: int, vector: np.ndarray, step: int,
    ) -> dict[str, np.ndarray]:  # fmt: skip
        if step != STEP:
            phones, weights = at_pace(phones, weights, step)
        mask = np.ones((len(sound) // step, self.config.bands), np.float32)
        for _ in range(int(random.integers(0, 3))):
            low, width = random.integers(0, self.config.bands), random.integers(1, self.config.bands // 8)
            mask[:, low : low + width] = 0
        for _ in range(int(random.integers(0, 3))):
            first, width = random.integers(0, len(mask)), random.integers(1, 8)
            mask[first : first + width] = 0
        return {
            "speech": sound, "clean": clean, "phones": phones, "weights": weights.astype(np.float32),
            "known": phones != NO_PHONE,
            "style": np.eye(len(STYLES), dtype=np.float32)[style],
            "warp": np.array(random.integers(len(WARPS)) if random.random() < 0.7 else len(WARPS) // 2),
            "mask": mask, "semantic": vector.astype(np.float32),
        }  # fmt: skip


class BatchStream(IterableDataset[Batch]):
    """Endless batches from step `first_step` on; a fifth of them hold crops three times as long.

    `rank`: which of several training processes this is; each draws other examples of the same shape.
    """

    def __init__(self, maker: ExampleMaker, config: Config, first_step: int = 0, rank: int = 0) -> None:
        self.maker, self.config, self.first_step, self.rank = maker, config, first_step, rank

    def __iter__(self) -> Iterator[Batch]:
        worker = torch.utils.data.get_worker_info()
        offset, stride = (worker.id, worker.num_workers) if worker else (0, 1)
        step = self.first_step + offset
        while True:
            shape = np.random.default_rng((self.config.seed, step))
            stretch = 3 if shape.random() < self.config.long_share else 1
            pace = DENSE_STEP if shape.random() < self.config.dense_share else STEP
            whole = whole_frames(pace)
            frames = max(1, int(self.config.crop * FPS) // whole) * whole * stretch
            items = [
                # From 1: numbered from 0, the first one's random numbers would be those of the shape.
                self.maker.make(np.random.default_rng((self.config.seed, step, item, self.rank)), frames, pace)
                for item in range(1, 1 + max(1, self.config.batch // stretch))
            ]
            yield collate(items)
            step += stride


def collate(items: list[dict[str, np.ndarray]]) -> Batch:
    """Stack examples of one length."""
    return Batch(**{key: torch.from_numpy(np.stack([item[key] for item in items])) for key in items[0]})


def loader(stream: BatchStream, processes: int = 0) -> DataLoader[Batch]:
    """Batches made by `processes` processes beside the training step (0: in this one)."""
    return DataLoader(stream, batch_size=None, num_workers=processes, prefetch_factor=4 if processes else None)


def seconds_of(batch: Batch) -> float:
    """Seconds of sound in a batch."""
    return batch.speech.numel() / SAMPLE_RATE
