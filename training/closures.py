# SPDX-License-Identifier: GPL-3.0-or-later
"""Do lips touch on p, b, m? `python -m training.closures vendored_models/wav2sem_small`: held-out clips by language.

A labelled p, b or m counts as closed when the inner lips come within 2.5 mm between 30 ms before it and 30 ms after it.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

import numpy as np

from inference import LipSyncModel, Speech

from .geometry import MEASURES, NEUTRAL_GAP, lip_geometry
from .packing import Corpus, load_corpus
from .train import CACHE, REAL_SPEECH

CLOSED = 2.5  # mm
SLACK = 0.03  # seconds


def closed_events(gap: np.ndarray, fps: float, phones: list[list[object]]) -> list[bool]:
    """For every p, b, m of `phones` (start s, end s, name): does `gap` (T,) in mm fall below CLOSED?"""
    times = np.arange(len(gap)) / fps
    events = []
    for start, end, name in phones:
        if name in ("P", "B", "M"):
            near = (times >= float(str(start)) - SLACK) & (times <= float(str(end)) + SLACK)
            events.append(bool(near.any() and gap[near].min() < CLOSED))
    return events


def recall_by_language(model: LipSyncModel, corpus: Corpus, most: int) -> dict[str, tuple[int, float]]:
    """Number of events and share closed, by kind of voice and language, over at most `most` clips of each."""
    opening = lip_geometry(model.names).measures[:, MEASURES.index("aperture")]
    held_out = np.concatenate([corpus.choose("dev"), corpus.choose("test")])
    seen: Counter[str] = Counter()
    events: dict[str, list[bool]] = {}
    for index in np.random.default_rng(3).permutation(held_out):
        clip = corpus.clips[index]
        kind = f"{'real' if clip.real else 'synthetic'} {str(clip.about['language'])[:2]}"
        if str(clip.about["source"]).startswith("nonspeech") or seen[kind] >= most:
            continue
        seen[kind] += 1
        gap = NEUTRAL_GAP + model.run(Speech(clip.speech())).weights @ opening
        events.setdefault(kind, []).extend(closed_events(gap, model.package.fps, clip.about["phones"]))
    return {kind: (len(found), float(np.mean(found))) for kind, found in sorted(events.items()) if found}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("package", type=Path)
    parser.add_argument("--cache", type=Path, default=CACHE)
    parser.add_argument("--real", type=Path, default=REAL_SPEECH)
    parser.add_argument("--clips", type=int, default=60, help="at most, of each language and kind of voice")
    options = parser.parse_args()
    corpus = load_corpus(options.cache, options.real)
    for kind, (count, share) in recall_by_language(LipSyncModel.load(options.package), corpus, options.clips).items():
        print(f"{kind:14s} {count:5d} events {share:6.2f} closed")


if __name__ == "__main__":
    main()
