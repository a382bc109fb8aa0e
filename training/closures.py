# SPDX-License-Identifier: GPL-3.0-or-later
"""Do p, b and m close the lips? `python -m training.closures PACKAGE`: held-out clips by language.

Three ways of counting, since labels, lips and scorers disagree about when a closure is (`CRITERIA`); the same way of
counting over t, d, n, k, g tells how often the lips would be found closed anyway.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from inference import FaceMotion, LipSyncError, LipSyncModel, Speech, read_speech
from inference.closure import gap_slope
from inference.flame import INNER_LIPS

from .corpus.clips import Clip, add_corpus_options, read_clips, watched
from .geometry import NEUTRAL_GAP
from .targets.phonetics import BILABIALS

OTHERS = ("T", "D", "N", "K", "G")
"""Consonants for control: the lips are open during them unless a closure or a pause is near."""
APART = 0.25  # seconds between a control consonant and the next bilabial or pause


@dataclass(frozen=True)
class Criterion:
    """When a phone counts as closed: the lips come within `limit` mm somewhere in a window.

    The window runs from `before` seconds ahead of the phone's start to `after` seconds past its end, or, when
    `centred`, around its middle.
    """

    before: float
    after: float
    limit: float
    centred: bool = False

    def met(self, gap: np.ndarray, fps: float, start: float, end: float) -> bool | None:
        """For the gap (T,) in mm between the lips; None when no frame lies in the window."""
        if self.centred:
            start = end = (start + end) / 2
        times = np.arange(len(gap)) / fps
        near = (times >= start - self.before) & (times <= end + self.after)
        return bool(gap[near].min() < self.limit) if near.any() else None


CRITERIA = {
    "near": Criterion(0.03, 0.03, 2.5),  # 30 ms around the label; 2.5 mm is a mouth that looks all but closed
    "firm": Criterion(0.13, 0.02, 1.0),  # lips lead the sound; touching, as soft lips do
    "centre": Criterion(0.05, 0.05, 1.5, centred=True),  # 40 ms and half a frame (metrics.closure_recall)
}


def closed_events(
    gap: np.ndarray,
    fps: float,
    phones: Iterable[Any],
    criterion: Criterion = CRITERIA["near"],
    names: Collection[str] = BILABIALS,
) -> list[bool]:
    """For every one of `names` among `phones` (start s, end s, name): does `gap` (T,) in mm close?

    Others than p, b, m count only when they are APART from these and from pauses.
    """
    phones = [(float(start), float(end), str(name)) for start, end, name in phones]
    shut = [(start, end) for start, end, name in phones if name in (*BILABIALS, "SIL")]
    events = []
    for start, end, name in phones:
        if name in names and (name in BILABIALS or not any(a < end + APART and b > start - APART for a, b in shut)):
            found = criterion.met(gap, fps, start, end)
            events += [] if found is None else [found]
    return events


def opening_slope(motion: FaceMotion) -> np.ndarray:
    """By how much each weight opens the inner lips: (K,) in mm, whatever the basis is."""
    return 1000 * gap_slope(motion.basis, INNER_LIPS)


def lip_gap(motion: FaceMotion) -> np.ndarray:
    """Distance between the inner lips (T,) in mm on the FLAME head."""
    return NEUTRAL_GAP + motion.weights @ opening_slope(motion)


@dataclass
class Tally:
    """Counts of one voice or language: for every criterion the events of p b m, and of the control consonants."""

    closed: dict[str, list[bool]]
    control: dict[str, list[bool]]

    @staticmethod
    def new() -> Tally:
        """Nothing counted yet."""
        return Tally({name: [] for name in CRITERIA}, {name: [] for name in CRITERIA})

    def add(self, gap: np.ndarray, fps: float, phones: Iterable[Any]) -> None:
        """Count one clip."""
        phones = list(phones)
        for name, criterion in CRITERIA.items():
            self.closed[name] += closed_events(gap, fps, phones, criterion)
            self.control[name] += closed_events(gap, fps, phones, criterion, OTHERS)

    def row(self) -> dict[str, float | int]:
        """Number of events, share closed by every criterion, and the same among the control consonants."""
        shares = {name: float(np.mean(found)) if found else float("nan") for name, found in self.closed.items()}
        others = {f"{name} others": float(np.mean(found)) if found else float("nan")
                  for name, found in self.control.items()}  # fmt: skip
        return {"events": len(self.closed["near"]), **shares, **others}


def held_out(cache: Path, most: int) -> Iterator[tuple[str, Clip]]:
    """(kind of voice and language, clip): labelled speech of the development and test splits, at most so many each."""
    clips = [c for c in read_clips(cache) if c.split in ("dev", "test") and c.phones and c.language != "none"]
    clips = [c for c in clips if not watched(c.id, c.split, c.language)]
    seen: Counter[str] = Counter()
    for index in np.random.default_rng(3).permutation(len(clips)):
        clip = clips[index]
        kind = f"{'real' if clip.source.startswith('real:') else 'synthetic'} {clip.language[:2]}"
        seen[kind] += 1
        if seen[kind] <= most:
            yield kind, clip


def clip_speech(clip: Clip, cache: Path, real: Path) -> Speech:
    """The sound of a clip, whichever of the two folders holds it."""
    return read_speech((real if clip.source.startswith("real:") else cache) / clip.audio)


def recall_by_language(
    model: LipSyncModel, cache: Path, real: Path, most: int, style: str | None = None
) -> dict[str, Tally]:
    """Closures by kind of voice and language, over at most `most` held-out clips of each."""
    tallies: dict[str, Tally] = {}
    for kind, clip in held_out(cache, most):
        gap = lip_gap(model.run(clip_speech(clip, cache, real), style))
        tallies.setdefault(kind, Tally.new()).add(gap, model.package.fps, clip.phones or ())
    return dict(sorted(tallies.items()))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("package", type=Path)
    add_corpus_options(parser)
    parser.add_argument("--clips", type=int, default=60, help="at most, of each language and kind of voice")
    options = parser.parse_args()
    try:
        model = LipSyncModel.load(options.package)
        if model.package.topology != "flame-5023":
            parser.error(f"lips are measured on FLAME heads; “{model.package.name}” moves another")
        tallies = recall_by_language(model, options.cache, options.real, options.clips)
    except (LipSyncError, ValueError) as error:
        parser.error(str(error))
    for kind, tally in tallies.items():
        row = tally.row()
        print(f"{kind:14s} {row.pop('events'):5d} events  " + "  ".join(f"{k} {v:.2f}" for k, v in row.items()))


if __name__ == "__main__":
    main()
