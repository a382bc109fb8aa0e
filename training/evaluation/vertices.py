# SPDX-License-Identifier: GPL-3.0-or-later
"""Vertex errors on held-out speech, in the terms of the literature; the rules' lips stand in for scans.

No scan of a speaking face is free to use here, so these figures tell how well a network learned its targets, and
compare packages with each other; they must not be set beside published ones. Reference rows show what the scale means:
a face that never moves, one that wears the mean expression, and the truth of another sentence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from inference import FaceMotion, LipSyncModel, arkit_basis

from .. import metrics
from ..batches import CAUGHT_UP, LATE, catch_up
from ..closures import clip_speech, held_out, lip_gap
from ..config import FPS
from ..corpus.phones import Phone
from ..packing import PREROLL, after_silence
from ..targets import NAMES, render


class Offsets(Sequence[np.ndarray]):
    """The vertex offsets (T, V, 3) of some motions, formed one sequence at a time: a minute of them fills 180 MB."""

    def __init__(self, motions: list[FaceMotion]) -> None:
        self.motions = motions

    def __len__(self) -> int:
        return len(self.motions)

    def __getitem__(self, index: Any) -> Any:
        return self.motions[index].offsets()


def need_corpus(cache: Path) -> None:
    """Raises FileNotFoundError when there is no corpus in `cache`."""
    if not (cache / "clips.jsonl").exists():
        raise FileNotFoundError(f"There is no corpus in {cache}; make one with python -m training.corpus.")


def rules_motions(sentences: Sequence[list[Phone]]) -> list[FaceMotion]:
    """What the rules make of the phones of each sentence, at FPS, as training shows it.

    That begins with silence, though none be heard, and catches up with lips that lead the sound: a p with which a
    recording begins would be shut before the recording otherwise.
    """
    names, deltas = arkit_basis()
    basis = deltas[[list(names).index(name) for name in NAMES]]
    return [FaceMotion(FPS, 0.0, tuple(NAMES), _as_taught(phones), basis) for phones in sentences]


def _as_taught(phones: list[Phone]) -> np.ndarray:
    weights = render(after_silence(phones), FPS)[PREROLL - LATE :] if phones else render(phones, FPS)
    frames = max(1, len(weights) - LATE)
    least = LATE + CAUGHT_UP  # of which `catch_up` makes the beginning
    weights = np.pad(weights, ((0, max(0, least - len(weights))), (0, 0)), mode="edge")
    return catch_up(weights)[:frames]


@dataclass(frozen=True)
class HeldOut:
    """Held-out sentences of real speakers: their phones, and the motion that the rules make of them."""

    speeches: list[Any]
    phones: list[Any]
    truth: list[FaceMotion]

    @staticmethod
    def load(cache: Path, real: Path, most: int) -> HeldOut:
        """At most so many English ones. Raises FileNotFoundError when there are none in `cache`."""
        need_corpus(cache)
        clips = [clip for kind, clip in held_out(cache, most) if kind == "real en"]
        if not clips:
            raise FileNotFoundError(f"There is no aligned English speech of people held out in {cache}.")
        truth = rules_motions([clip.phones or [] for clip in clips])
        return HeldOut([clip_speech(clip, cache, real) for clip in clips], [clip.phones for clip in clips], truth)

    def predict(self, model: LipSyncModel, style: str | None = None) -> list[FaceMotion]:
        """The model's motion of every sentence, at the truth's rate."""
        return [model.run(speech, style).at_rate(FPS) for speech in self.speeches]


def references(truth: list[FaceMotion]) -> dict[str, list[FaceMotion]]:
    """Motions that hear nothing: the neutral face, the mean expression, and the sentence before's truth, looped.

    Of a single sentence there is no other; the truth itself comes last.
    """
    mean = np.concatenate([motion.weights for motion in truth]).mean(0)
    others = [
        replace(motion, weights=np.resize(truth[i - 1].weights, motion.weights.shape)) for i, motion in enumerate(truth)
    ]
    return {
        "neutral face": [replace(motion, weights=np.zeros_like(motion.weights)) for motion in truth],
        "mean expression": [
            replace(motion, weights=np.repeat(mean[None], len(motion.weights), 0)) for motion in truth
        ],
        **({"another sentence": others} if len(truth) > 1 else {}),
        "the rules themselves": truth,
    }  # fmt: skip


def figures(predicted: list[FaceMotion], data: HeldOut) -> tuple[dict[str, Any], np.ndarray]:
    """One row of the table of vertex errors, and the lip error (mm, convention B) per sentence for the bootstrap."""
    names, deltas = arkit_basis()
    lips, upper = metrics.lip_vertices(names, deltas), metrics.upper_face_vertices(names, deltas)
    face = np.flatnonzero(np.abs(deltas).max((0, 2)) > 1e-4)  # whatever any blendshape moves by a tenth of a mm
    found, true = Offsets(predicted), Offsets(data.truth)
    squared, plain = metrics.lip_error_squared(found, true, lips), metrics.lip_error(found, true, lips)
    dynamics, size = metrics.dynamics_deviation(found, true, np.zeros((deltas.shape[1], 3)), upper)
    gaps = [(lip_gap(p)[: len(t.weights)], lip_gap(t)[: len(p.weights)])
            for p, t in zip(predicted, data.truth, strict=True)]  # fmt: skip
    scores = [metrics.gap_scores(p, t) for p, t in gaps]
    recall = [metrics.closure_recall(p / 1000, FPS, phones) for (p, _), phones in zip(gaps, data.phones, strict=True)]
    row = {
        "LVE_A m²": squared.pooled, "√LVE_A mm": 1000 * squared.pooled**0.5, "LVE_B mm": 1000 * plain.pooled,
        "MVE all mm": 1000 * metrics.mean_vertex_error(found, true).pooled,
        "MVE face mm": 1000 * metrics.mean_vertex_error(found, true, face).pooled,
        "FDD m²": dynamics.pooled, "FDD unsigned m²": size,
        "gap r": float(np.mean([r for r, _ in scores])), "gap MAE mm": float(np.mean([e for _, e in scores])),
        "closures ±40 ms": _known_mean(recall),
        "lag ms": float(1000 * _known_mean([metrics.sync_offset(p, t, FPS) for p, t in gaps if len(t) > 20])),
        "frames": sum(len(motion.weights) for motion in data.truth),
    }  # fmt: skip
    return row, 1000 * plain.each


def _known_mean(values: list[float]) -> float:
    """Mean of what is a number; NaN where nothing is."""
    known = [value for value in values if np.isfinite(value)]
    return float(np.mean(known)) if known else float("nan")


def vertex_rows(
    model: LipSyncModel, baseline: LipSyncModel | None, data: HeldOut, style: str | None = None
) -> list[dict[str, Any]]:
    """Rows for the package, the baseline package in its own style and the references.

    LVE_B with the paired 95 % interval of the package's difference from each.
    """
    motions = {"package": data.predict(model, style)}
    if baseline is not None:
        motions["baseline package"] = data.predict(baseline)
    rows, own = [], np.zeros(0)
    for name, predicted in (motions | references(data.truth)).items():
        row, each = figures(predicted, data)
        if name == "package":
            own = each
        mean, low, high = metrics.bootstrap(own, each)
        interval = "" if name == "package" else f"{mean:+.2f} ({low:+.2f} … {high:+.2f})"
        rows.append({"motion": name, **row, "package minus this, LVE_B mm": interval})
    return rows
