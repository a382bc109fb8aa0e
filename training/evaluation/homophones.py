# SPDX-License-Identifier: GPL-3.0-or-later
"""Near-homophones: does the model draw other lips for words that sound alike but look different?

Minimal pairs that differ in one consonant with other lips (map, nap) are put into the same carrier sentences and
spoken. Compared are the model's memory (what its decoder hears) and the lip vertices, each as the mean over the
frames of the phone that differs and a little before: the raw mean squared difference between the two words (as
Wav2Sem's table has it; a trained map can scale it at will), the scale-free ratio to the difference of one word between
carriers, the cosine distance, and how often the nearest other recording of the pair is of the same word, although the
other word stands in the same carrier too. With and without the sentence vector.
"""

from __future__ import annotations

import csv
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from inference import LipSyncModel, Speech

from ..corpus.engines import synthesise
from ..corpus.phones import Phone
from ..corpus.voices import Voice
from ..targets.phonetics import BILABIALS, LABIODENTALS
from .rest import LIPS

CARRIERS = (
    "Please say {} again.", "I wrote {} on the card.", "The last one was {} they told us.", "He read {} to the child.",
    "Then {} is the next one.", "Could you spell {} for her?",
)  # fmt: skip
VOICES = (Voice("rhvoice", "bdl", "en", 1), Voice("flite", "slt", "en", 1))
LEAD = 0.1  # seconds before a phone in which the lips already show it


@dataclass(frozen=True)
class Spoken:
    """One word in one carrier by one voice: the whole sentence, and when the word differs from its partner (s)."""

    word: str
    group: str  # pair and voice: only recordings of one group are compared
    speech: Speech
    start: float
    end: float


def looks_different(a: str, b: str) -> bool:
    """Do two phones shut the lips, or put the teeth on them, differently?"""
    return (a in BILABIALS) != (b in BILABIALS) or (a in LABIODENTALS) != (b in LABIODENTALS)


def read_pairs(path: Path, most: int) -> list[tuple[str, str]]:
    """Up to `most` pairs of `minimal_pairs.tsv` whose one different phone looks different, the commonest words first.

    Raises FileNotFoundError when the file is not there.
    """
    with path.open(encoding="utf-8", newline="") as lines:
        rows = [row for row in csv.reader(lines, delimiter="\t") if len(row) >= 4 and looks_different(row[2], row[3])]
    return [(row[0], row[1]) for row in rows[:most]]


def difference_times(phones: list[Phone], other: list[Phone]) -> tuple[float, float]:
    """When `phones` differ from those of the `other` word in the same carrier, and LEAD before that (s)."""
    names, others = [p[2] for p in phones], [p[2] for p in other]
    first = 0
    while first < min(len(names), len(others)) - 1 and names[first] == others[first]:
        first += 1
    last = 0
    while last < min(len(names), len(others)) - first - 1 and names[-1 - last] == others[-1 - last]:
        last += 1
    return max(0.0, phones[first][0] - LEAD), phones[len(phones) - 1 - last][1]


def speak_pairs(pairs: list[tuple[str, str]]) -> list[Spoken]:
    """Every word of every pair in every carrier by every voice whose engine is installed."""
    found = []
    for voice in VOICES:
        for pair in pairs:
            for carrier in CARRIERS:
                try:
                    (one, phones), (other, rest) = (
                        synthesise(voice, carrier.format(word), 1.0, 1.0, 0.5) for word in pair
                    )
                except ValueError:
                    continue  # sound and labels do not belong together
                except (OSError, subprocess.SubprocessError, soundfile.LibsndfileError):
                    break
                group = f"{voice.speaker} {'/'.join(pair)}"
                for word, sound, own, against in ((pair[0], one, phones, rest), (pair[1], other, rest, phones)):
                    found.append(Spoken(word, group, Speech(sound), *difference_times(own, against)))
    return found


def representations(
    model: LipSyncModel, spoken: Spoken, vector: bool, style: str | None = None
) -> dict[str, np.ndarray]:
    """Mean from start to end of the decoder's memory (d,) and of the lip vertices' offsets in mm (3 n,).

    Without `vector` the sentence vector is zero.
    """
    package, samples = model.package, spoken.speech.samples
    hop = round(16000 / package.fps)
    inputs: dict[str, np.ndarray] = {"speech": np.pad(samples, (0, -len(samples) % hop))[None]}
    if model.encoder.wav2sem is not None:
        own = model.encoder.wav2sem.run("semantic", inputs)
        inputs["semantic"] = own if vector else np.zeros_like(own)
    memory = model.encoder.graph.run("memory", inputs)[0]
    blend = model.style_vector(style)
    hidden = model.decoder.run(memory, blend)
    weights = (hidden @ model.decoder.output_weight.T + model.decoder.output_bias).clip(0, 1).astype(np.float32)
    lips = model.finish(weights, blend) @ model.basis[:, LIPS].reshape(len(model.names), -1) * 1000
    frames = slice(int(spoken.start * package.fps), max(int(np.ceil(spoken.end * package.fps)), 1))
    return {"features": memory[frames].mean(0), "lips": lips[frames].mean(0)}


def separation(vectors: np.ndarray, words: list[str], groups: list[str]) -> dict[str, float]:
    """Figures of how well words are told apart: `vectors` (n, d), the word and the group of each.

    mse: between the words of a pair, mean over dimensions. ratio: root mean square distance between the words of a pair
    over that between recordings of one word. cosine: distance between the words of a pair. nearest: share of
    recordings whose nearest neighbour of the group is the same word.
    """
    between, within, cosine, nearest = [], [], [], []
    for group in dict.fromkeys(groups):
        rows = [i for i, name in enumerate(groups) if name == group]
        x, names = vectors[rows].astype(np.float64), np.array([words[i] for i in rows])
        distance = np.square(x[:, None] - x[None]).mean(2)
        same = names[:, None] == names[None]
        off = ~np.eye(len(rows), dtype=bool)
        between += distance[~same].tolist()
        within += distance[same & off].tolist()
        norm = np.linalg.norm(x, axis=1)
        cosine += (1 - (x @ x.T) / np.maximum(norm[:, None] * norm[None], 1e-12))[~same].tolist()
        nearest += (names[np.where(off, distance, np.inf).argmin(1)] == names).tolist()
    return {
        "mse": float(np.mean(between)), "ratio": float(np.sqrt(np.mean(between) / np.mean(within))),
        "cosine": float(np.mean(cosine)), "nearest": float(np.mean(nearest)),
    }  # fmt: skip


def homophone_rows(model: LipSyncModel, pairs: list[tuple[str, str]], style: str | None = None) -> list[dict[str, Any]]:
    """Rows: features and lips, with the own vector and without any (only packages with Wav2Sem)."""
    ours = model.package.encoder_kind == "frames" and model.package.output_kind == "blendshapes"
    spoken = speak_pairs(pairs) if ours else []
    if not spoken:
        return []
    words, groups = [s.word for s in spoken], [s.group for s in spoken]
    rows = []
    for vector in (True, False) if model.encoder.wav2sem is not None else (False,):
        found = [representations(model, each, vector, style) for each in spoken]
        for space in ("features", "lips"):
            figures = separation(np.stack([f[space] for f in found]), words, groups)
            rows.append({"space": space, "vector": "own" if vector else "none", "words": len(spoken), **figures})
    return rows
