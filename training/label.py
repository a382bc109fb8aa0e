# SPDX-License-Identifier: GPL-3.0-or-later
"""Self-training: a trained network labels real speech that nobody aligned.

`python -m training.label training/runs/cpu/lips/last.pt labels.jsonl`

The phones are the best path through a hidden Markov model whose states are the phones, whose transitions are those of
the aligned real speech and whose observations are the phone head's (Bourlard and Morgan 1994, hybrid models; noisy
student: Xie et al. 2020). The rules then give clear targets where the network's own face would be a hesitant mean.
Frames on whose phone the model is not sure teach nothing: they have no label.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from scipy.special import log_softmax
from tqdm import tqdm

from . import checkpoints
from .config import FPS, PHONES
from .corpus.clips import add_corpus_options
from .model import FaceFormer
from .packing import Clip, Corpus, open_corpus
from .train import development_clips

SURE = 0.8  # posterior of a phone below which its frame has no label
MOSTLY = 0.5  # share of sure frames below which a clip is left out
PRIOR = 0.4  # how much of the phones' frequency is taken out of what the phone head says
PER_TEXT = 40  # recordings of one text that are labelled: wake words come in hundreds
SECONDS = (1.0, 30.0)


@dataclass(frozen=True)
class PhoneModel:
    """Log probabilities of phones (P,), of their transitions from frame to frame (P, P)."""

    prior: np.ndarray
    follow: np.ndarray

    @classmethod
    def of(cls, clips: Iterable[Clip]) -> PhoneModel:
        """Counted over the frames of aligned clips."""
        counts = np.full((len(PHONES), len(PHONES)), 0.1)
        for clip in clips:
            phones = clip.phones[clip.phones >= 0].astype(int)
            np.add.at(counts, (phones[:-1], phones[1:]), 1)
        return cls(np.log(counts.sum(1) / counts.sum()), np.log(counts / counts.sum(1, keepdims=True)))

    def label(self, logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Best path (T,) and the posterior (T,) of its phones, from the phone head's logits (T, P)."""
        seen = log_softmax(logits.astype(np.float64), axis=1) - PRIOR * self.prior
        path = self._best_path(seen)
        return path, self._posteriors(seen)[np.arange(len(path)), path]

    def _best_path(self, seen: np.ndarray) -> np.ndarray:
        """Viterbi: the likeliest phones (T,)."""
        best, back = seen[0] + self.prior, np.zeros(seen.shape, int)
        for t in range(1, len(seen)):
            ways = best[:, None] + self.follow
            back[t] = ways.argmax(0)
            best = ways.max(0) + seen[t]
        path = np.empty(len(seen), int)
        path[-1] = best.argmax()
        for t in range(len(seen) - 1, 0, -1):
            path[t - 1] = back[t, path[t]]
        return path

    def _posteriors(self, seen: np.ndarray) -> np.ndarray:
        """Forward-backward, every frame scaled to sum 1 (Rabiner 1989): probabilities (T, P)."""
        follow, heard = np.exp(self.follow), np.exp(seen - seen.max(1, keepdims=True))
        forward, backward = np.empty(seen.shape), np.ones(seen.shape)
        state = np.exp(self.prior)
        for t in range(len(seen)):
            state = (state @ follow if t else state) * heard[t]
            forward[t] = state = state / state.sum()
        for t in range(len(seen) - 2, -1, -1):
            state = follow @ (heard[t + 1] * backward[t + 1])
            backward[t] = state / state.sum()
        both = forward * backward
        posteriors: np.ndarray = both / both.sum(1, keepdims=True)
        return posteriors


def segments(values: np.ndarray) -> Iterator[tuple[float, float, int]]:
    """Runs of equal values (T,) as (start s, end s, value); a border lies halfway between its two frames."""
    borders = [0, *(np.flatnonzero(np.diff(values)) + 1), len(values)]
    for first, end in pairwise(borders):
        yield max(0.0, (first - 0.5) / FPS), (end - 0.5) / FPS, int(values[first])


@torch.no_grad()
def hear(network: FaceFormer, clip: Clip) -> np.ndarray:
    """What the phone head says of a clip: logits (T, P)."""
    logits: np.ndarray = network.phone_head(network.audio_encoder(torch.tensor(clip.speech())[None]))[0].numpy()
    return logits


def unlabelled(corpus: Corpus) -> list[Clip]:
    """Real training clips without an alignment, of each text the first PER_TEXT."""
    texts: Counter[str] = Counter()
    found = []
    for clip in corpus.clips:
        if clip.real and clip.faces is None and clip.about["split"] == "train":
            text = clip.about["text"].casefold().strip()
            texts[text] += bool(text)
            if texts[text] <= PER_TEXT and SECONDS[0] <= clip.frames / FPS <= SECONDS[1]:
                found.append(clip)
    return found


def check(network: FaceFormer, model: PhoneModel, corpus: Corpus) -> dict[str, float]:
    """Accuracy on aligned development speech: of the phone head, of the path, of its sure frames, and their share.

    Of a corpus without any there are no figures.
    """
    heard, right, sure = [], [], []
    for index in development_clips(corpus, 60).get("real", ()):
        clip = corpus.clips[index]
        logits, known = hear(network, clip), clip.phones >= 0
        path, certainty = model.label(logits)
        heard.append((logits.argmax(1) == clip.phones)[known])
        right.append((path == clip.phones)[known])
        sure.append((certainty >= SURE)[known])
    if not heard:
        return {}
    a, b, c = (np.concatenate(parts) for parts in (heard, right, sure))
    return {"heard": float(a.mean()), "path": float(b.mean()), "sure": float(b[c].mean()), "share": float(c.mean())}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=checkpoints.whole_lips, help="of training.train")
    parser.add_argument("labels", type=Path, help="what training.train --labels reads")
    add_corpus_options(parser)
    options = parser.parse_args()
    try:
        options.labels.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"“{options.labels}” cannot be written ({error.strerror}); name another place")
    network, _ = checkpoints.load_network(options.checkpoint)
    corpus = open_corpus(parser, options.cache, options.real)
    aligned = [corpus.clips[i] for i in corpus.choose("train")]
    model = PhoneModel.of([clip for clip in aligned if clip.real] or aligned)
    print("On aligned development speech:", {k: round(v, 3) for k, v in check(network, model, corpus).items()})
    lines, seconds = [], 0.0
    for clip in tqdm(unlabelled(corpus), "labelling", unit="clip", mininterval=5):
        path, certainty = model.label(hear(network, clip))
        sure = certainty >= SURE
        if sure.mean() < MOSTLY:
            continue
        phones = [(round(start, 3), round(end, 3), PHONES[phone]) for start, end, phone in segments(path)]
        doubtful = [(round(start, 3), round(end, 3)) for start, end, yes in segments(sure) if not yes]
        lines.append(json.dumps({"id": clip.about["id"], "phones": phones, "doubtful": doubtful}))
        seconds += clip.frames / FPS
    part = options.labels.with_suffix(".part")
    part.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    part.replace(options.labels)
    print(f"{len(lines)} clips, {seconds / 3600:.2f} h, labelled in {options.labels}")


if __name__ == "__main__":
    main()
