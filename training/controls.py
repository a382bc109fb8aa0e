# SPDX-License-Identifier: GPL-3.0-or-later
"""Does the sentence vector help lips? `python -m training.controls CHECKPOINT --wav2sem CHECKPOINT`.

One network, the same held-out clips of real speakers, five vectors: its own utterance's (what the package does), none,
one constant (the mean vector, which is all a collapsed Wav2Sem can offer), another utterance's, and the embedding of
the true text. Differences come with a 95 % interval from a paired bootstrap over clips.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from .config import STYLES
from .geometry import MEASURES, LipGeometry, lip_geometry
from .losses import PRESSED
from .metrics import seed_bootstrap
from .model import FaceFormer
from .packing import Corpus, load_corpus
from .train import CACHE, REAL_SPEECH, load_network
from .wav2sem import embed_texts, load_wav2sem, plain_text, sentence_whitening, usable_clips

FIGURES = ("lip_mm", "aperture_r", "shut_mm")


@torch.no_grad()
def clip_figures(
    network: FaceFormer, corpus: Corpus, index: int, vector: np.ndarray, geometry: LipGeometry
) -> tuple[float, float, float]:
    """Figures of one clip in the neutral style, in the order of FIGURES.

    Lip error: root mean square over lip vertices and frames (mm). Correlation of the opening. Mean opening beyond the
    target's where that presses the lips together (mm; nan where it never does).
    """
    clip = corpus.clips[index]
    assert clip.weights is not None
    style = torch.eye(len(STYLES))[:1]
    found = network(torch.tensor(clip.speech())[None], style, torch.tensor(vector)[None]).weights[-1][0].clamp(0, 1)
    error = found.numpy() - clip.weights[0].astype(np.float32)
    opening = geometry.measures[:, MEASURES.index("aperture")]
    shut = clip.weights[0].astype(np.float32) @ opening < PRESSED
    return (
        float(np.sqrt(np.square(error @ geometry.lip_factor).sum(1).mean())),
        float(np.corrcoef(found.numpy() @ opening, clip.weights[0].astype(np.float32) @ opening)[0, 1]),
        float(np.maximum(error[shut] @ opening, 0).mean()) if shut.any() else float("nan"),
    )


def compare(
    network: FaceFormer, corpus: Corpus, wav2sem: Path, cache: Path, count: int
) -> dict[str, dict[str, object]]:
    """Figures of every kind of vector on at most `count` development and test clips of real speakers."""
    clips = np.concatenate([usable_clips(corpus, split) for split in ("dev", "test")])
    clips = np.array([i for i in clips if corpus.clips[i].real and corpus.clips[i].weights is not None])
    clips = np.random.default_rng(11).permutation(clips)[:count]
    branch, geometry = load_wav2sem(wav2sem), lip_geometry(corpus.names)
    with torch.no_grad():
        own = np.concatenate([branch(torch.tensor(corpus.clips[i].speech())[None]).numpy() for i in tqdm(clips)])
    texts = embed_texts([plain_text(corpus.clips[i].about["text"]) for i in clips], cache)
    vectors = {
        "own": own,
        "none": np.zeros_like(own),
        "constant": np.tile(own.mean(0), (len(own), 1)),
        "another utterance's": np.roll(own, 1, 0),
        "true text's": sentence_whitening(wav2sem)(texts).astype(np.float32),
    }
    rows = {
        name: np.array(
            [clip_figures(network, corpus, i, v, geometry) for i, v in zip(tqdm(clips, name), kind, strict=True)]
        )
        for name, kind in vectors.items()
    }
    report: dict[str, dict[str, object]] = {}
    for name, found in rows.items():
        report[name] = {"clips": len(found)} | dict(zip(FIGURES, np.nanmean(found, 0).tolist(), strict=True))
        if name != "own":
            report[name]["own minus this, mean and 95 %"] = {
                figure: seed_bootstrap(rows["own"][None, :, k], found[None, :, k]) for k, figure in enumerate(FIGURES)
            }
    return report


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--wav2sem", type=Path, required=True)
    parser.add_argument("--cache", type=Path, default=CACHE)
    parser.add_argument("--real", type=Path, default=REAL_SPEECH)
    parser.add_argument("--clips", type=int, default=150)
    parser.add_argument("--out", type=Path, help="write the report here as JSON")
    options = parser.parse_args()
    network, _ = load_network(options.checkpoint)
    corpus = load_corpus(options.cache, options.real)
    report = json.dumps(compare(network, corpus, options.wav2sem, options.cache, options.clips), indent=1)
    if options.out:
        options.out.write_text(report)
    print(report)


if __name__ == "__main__":
    main()
