# SPDX-License-Identifier: GPL-3.0-or-later
"""Train with and without the sentence vector: `python -m training.ablation --initial CHECKPOINT --wav2sem CHECKPOINT`.

Every variant starts from the same network and takes the same number of steps, several times with other seeds; what
learns is all behind the speech encoder (`training.frozen`), or with `--whole` the whole network, which takes hours:

none      no vector: the branch is left out
constant  the mean vector for every utterance, which is all that a collapsed Wav2Sem can offer (a learned constant,
          since FC(F_s) is trained)
own       the utterance's own vector; it is judged with its own, and with another utterance's
text      the embedding of the true text, which Wav2Sem imitates: more than any vector from sound can bring

Judged on held-out clips of real speakers against the rules' lips, and on the development clips against real lips. The
intervals are from a paired bootstrap that draws seeds and clips. A run that was broken off goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from . import checkpoints
from .checkpoints import config_of, load_network, load_wav2sem
from .config import SAMPLE_RATE, STYLES
from .corpus.clips import add_corpus_options
from .evaluation.clips import EvalClip, EvalSet
from .figures import as_json
from .frozen import Heard, train_after
from .geometry import EYES, MEASURES, NEUTRAL_GAP, LipGeometry, lip_geometry
from .losses import PRESSED
from .metrics import seed_bootstrap
from .model import FaceFormer
from .packing import Corpus, open_corpus
from .train import build, predict, train
from .wav2sem import embed_texts, plain_text, sentence_vectors, sentence_whitening, usable_clips

TRAINED = ("none", "constant", "own", "text")
JUDGED = {
    "none": ("none", "none"),
    "constant": ("constant", "constant"),
    "own": ("own", "own"),
    "own, another utterance's at test": ("own", "other"),
    "true text's": ("text", "text"),
}
"""Row of the table: (which training, which vector when it is judged)."""
FIGURES = ("lip_mm", "aperture_r", "shut_mm")
SETTINGS = ("initial", "wav2sem", "whole", "heard", "steps", "rate", "batch", "crop", "clips")
"""Options that all runs of one table must share."""


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
    found = predict(network, clip, vector).weights[-1][0].clamp(0, 1)
    target, opening = clip.weights[0].astype(np.float32), geometry.measures[:, MEASURES.index("aperture")]
    error, shut = found.numpy() - target, target @ opening < PRESSED
    return (
        float(np.sqrt(np.square(error @ geometry.lip_factor).sum(1).mean())),
        float(np.corrcoef(found.numpy() @ opening, target @ opening)[0, 1]),
        float(np.maximum(error[shut] @ opening, 0).mean()) if shut.any() else float("nan"),
    )


@dataclass(frozen=True)
class Vectors:
    """The sentence vectors of every clip of the corpus (C, S), of the texts (C, S), of the development clips (E, S)."""

    corpus: np.ndarray
    texts: np.ndarray
    clips: np.ndarray

    @cached_property
    def mean(self) -> np.ndarray:
        """What a collapsed branch gives: (1, S)."""
        return self.corpus.mean(0, keepdims=True).astype(np.float32)

    def train_with(self, variant: str) -> np.ndarray | None:
        """Vectors (C, S) that `variant` is trained with; None without the branch."""
        constant = np.repeat(self.mean, len(self.corpus), 0)
        return {"none": None, "constant": constant, "own": self.corpus, "text": self.texts}[variant]


@dataclass(frozen=True)
class Judge:
    """What all networks are judged on: `held_out` clips of the corpus, and real faces."""

    corpus: Corpus
    held_out: np.ndarray
    vectors: Vectors
    eval_set: EvalSet

    def figures(self, network: FaceFormer, kind: str) -> np.ndarray:
        """FIGURES per held-out clip, then r_ap per development clip in the first column: (H + E, 3), else nan."""
        geometry = lip_geometry(self.corpus.names)
        held, clips = self._chosen(kind)
        rows = [clip_figures(network, self.corpus, i, v, geometry) for i, v in zip(self.held_out, held, strict=True)]
        for clip, vector in zip(self.eval_set.clips, clips, strict=True):
            known = np.isfinite(vector).all()
            curves = self._curves(network, clip, vector, geometry) if known else None
            rows.append((self.eval_set.score(clip.reference, curves)["r_ap"] if curves else np.nan, np.nan, np.nan))
        return np.array(rows)

    def _chosen(self, kind: str) -> tuple[np.ndarray, np.ndarray]:
        own, clips = self.vectors.corpus[self.held_out], self.vectors.clips
        if kind == "constant":
            return np.repeat(self.vectors.mean, len(own), 0), np.repeat(self.vectors.mean, len(clips), 0)
        if kind == "other":
            return np.roll(own, 1, 0), np.roll(clips, 1, 0)
        if kind == "text":  # nobody wrote down what the development clips say
            return self.vectors.texts[self.held_out], np.full_like(clips, np.nan)
        return own, clips

    @torch.no_grad()
    def _curves(self, network: FaceFormer, clip: EvalClip, vector: np.ndarray, geometry: LipGeometry) -> dict[str, Any]:
        samples = clip.speech.samples
        speech = torch.from_numpy(np.pad(samples, (0, -len(samples) % 320)))[None]
        weights = network(speech, torch.eye(len(STYLES))[:1], torch.tensor(vector)[None]).weights[-1][0].clamp(0, 1)
        gap = NEUTRAL_GAP + weights.numpy() @ geometry.measures[:, MEASURES.index("aperture")]
        return {"t": np.arange(len(gap)) * 320 / SAMPLE_RATE, "aperture": gap / EYES, "absolute": True}


def run(variant: str, seed: int, judge: Judge, options: argparse.Namespace, heard: Heard | None) -> None:
    """Train one variant with one seed and judge it, unless that was done before; writes KIND.npy for every row.

    `heard`: train behind the encoder only, on these clips.
    """
    folder = options.folder / f"{variant}-{seed}"
    kinds = [kind for trained, kind in JUDGED.values() if trained == variant]
    if all((folder / f"{kind}.npy").exists() for kind in kinds):
        return
    vectors = judge.vectors.train_with(variant)
    size = 0 if vectors is None else vectors.shape[1]
    pace = {"steps": options.steps, "batch": options.batch, "crop": options.crop, "rate": options.rate}
    config = replace(config_of(options.initial), seed=seed, semantic=size, **pace)
    if heard is not None:
        network = train_after(build(config, judge.corpus, options.initial), judge.corpus, heard, vectors, config)
    else:
        train(config, judge.corpus, folder, vectors, options.initial, 0, 3.0)
        network, _ = load_network(folder / "last.pt")
    folder.mkdir(parents=True, exist_ok=True)
    for kind in tqdm(kinds, f"judging {variant}, seed {seed}"):
        np.save(folder / f"{kind}.npy", judge.figures(network, kind))


def table(folder: Path, seeds: list[int], clips: int) -> list[dict[str, Any]]:
    """One row per entry of JUDGED from what is in `folder`: means over seeds, and differences from "own".

    `clips`: how many of the judged clips are held-out ones. Rows without any finished run are left out, and seeds that
    are not finished in every row.
    """

    def stored(name: str, seed: int) -> Path:
        trained, kind = JUDGED[name]
        return folder / f"{trained}-{seed}" / f"{kind}.npy"

    done = [seed for seed in seeds if all(stored(name, seed).exists() for name in JUDGED)]
    if not done:
        return []
    found = {name: np.stack([np.load(stored(name, seed)) for seed in done]) for name in JUDGED}
    rows = []
    for name, figures in found.items():
        row: dict[str, Any] = {"vector": name, "seeds": len(done)}
        for label, values, own in _columns(figures, found["own"], clips):
            if np.isfinite(values).any():
                each = np.nanmean(values, axis=1)
                row[label] = float(each.mean())
                row[f"{label}, spread of seeds"] = float(each.std(ddof=1)) if len(done) > 1 else float("nan")
                row[f"{label}, own minus this"] = seed_bootstrap(own, values) if name != "own" else None
        rows.append(row)
    return rows


def _columns(figures: np.ndarray, own: np.ndarray, clips: int) -> list[tuple[str, np.ndarray, np.ndarray]]:
    columns = [(label, figures[:, :clips, k], own[:, :clips, k]) for k, label in enumerate(FIGURES)]
    return [*columns, ("r_ap", figures[:, clips:, 0], own[:, clips:, 0])]


def make_judge(corpus: Corpus, options: argparse.Namespace) -> Judge:
    """Choose the held-out clips and compute all vectors."""
    held_out = np.concatenate([usable_clips(corpus, split) for split in ("dev", "test")])
    clips = corpus.clips
    held_out = np.array([i for i in held_out if clips[i].real and clips[i].faces is not None and not clips[i].watched])
    held_out = np.random.default_rng(11).permutation(held_out)[: options.clips]
    eval_set, branch = EvalSet.load(options.eval, options.flame), load_wav2sem(options.wav2sem)
    whitening = sentence_whitening(options.wav2sem)
    with torch.no_grad():
        heard = [branch(torch.from_numpy(clip.speech.samples)[None])[0].numpy() for clip in eval_set.clips]
    own = sentence_vectors(options.wav2sem, corpus, options.cache)
    texts = np.zeros_like(own, dtype=np.float32)  # the mean of all texts, where there is none
    written = np.concatenate([usable_clips(corpus, split) for split in ("train", "dev", "test")])
    raw = embed_texts([plain_text(corpus.clips[i].about["text"]) for i in written], options.cache)
    texts[written] = whitening(raw)
    return Judge(corpus, held_out, Vectors(own, texts, np.stack(heard)), eval_set)


def hear(corpus: Corpus, options: argparse.Namespace) -> Heard:
    """Some English training clips, half of them of real speakers, as the encoder of the first network hears them."""
    usable = usable_clips(corpus, "train")
    usable = usable[[corpus.clips[i].faces is not None for i in usable]]
    real = np.array([corpus.clips[i].real for i in usable])
    random = np.random.default_rng(12)
    half = options.heard // 2
    clips = np.concatenate([random.permutation(usable[which])[:half] for which in (real, ~real)])
    return Heard.of(load_network(options.initial)[0], corpus, clips)


def need_same(options: argparse.Namespace, corpus: str) -> None:
    """Note in the folder what its runs are made with; `corpus` is the corpus' key.

    Raises ValueError when it holds runs that were made otherwise: one table must not mix them.
    """
    path, own = options.folder / "settings.json", {name: str(getattr(options, name)) for name in SETTINGS}
    own["cache"] = corpus
    if path.exists():
        stored = json.loads(path.read_text(encoding="utf-8"))
        if differing := [f"--{name}" for name in own if stored.get(name) != own[name]]:
            raise ValueError(
                f"“{options.folder}” holds runs with another {' and '.join(differing)} (corpus: --cache); "
                "give the same again, or another --folder."
            )
        return
    options.folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(own, indent=1), encoding="utf-8")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--initial", type=checkpoints.whole_lips, required=True, help="checkpoint that all variants start from"
    )
    parser.add_argument("--wav2sem", type=checkpoints.branch, required=True)
    parser.add_argument("--folder", type=Path, default=Path("training/runs/ablation"))
    parser.add_argument("--whole", action="store_true", help="train the speech encoder too, with all augmentation")
    parser.add_argument("--heard", type=int, default=1500, help="training clips at most, without --whole")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--rate", type=float, default=4e-4)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--crop", type=float, default=2.0, help="seconds of one example")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--clips", type=int, default=100, help="held-out clips at most")
    parser.add_argument("--threads", type=int, default=1)
    add_corpus_options(parser)
    parser.add_argument("--eval", type=Path, default=Path("../shared/eval"))
    parser.add_argument("--flame", type=Path, default=Path("../shared/flame/flame2023open_subset.npz"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    corpus = open_corpus(parser, options.cache, options.real, options.threads)
    try:
        need_same(options, corpus.key)
        judge = make_judge(corpus, options)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    heard = None if options.whole else hear(corpus, options)
    for seed in options.seeds:
        for variant in TRAINED:
            run(variant, seed, judge, options, heard)
        rows = table(options.folder, options.seeds, len(judge.held_out))
        (options.folder / "ablation.json").write_text(as_json(rows, indent=1))
        print(as_json(rows, indent=1))


if __name__ == "__main__":
    main()
