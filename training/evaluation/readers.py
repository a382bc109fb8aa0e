# SPDX-License-Identifier: GPL-3.0-or-later
"""Readers whom training never heard, against the rules' lips: many more clips than anybody filmed.

Real lips are few, and a clip of three seconds is a coarse measure of what noise takes away. Here the reference is what
the rules make of the phones that were spoken, so these figures tell how well a network hears, not how lips move.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from inference import LipSyncModel, Speech

from ..closures import clip_speech, lip_gap
from ..config import FPS
from ..corpus.clips import Clip, read_clips
from ..geometry import NEUTRAL_GAP
from ..losses import PRESSED
from .clips import EvalClip
from .robustness import conditions, kept
from .vertices import need_corpus, rules_motions

WORSE = 60  # clips that are also heard in noise, by telephone and at other speeds
_ALL = "as recorded, all"
_CLEAN = "as recorded"

Row = dict[str, Any]


def reader_clips(cache: Path, real: Path) -> list[EvalClip]:
    """The aligned English test clips of readers in an order that chance gave; their aperture is the rules' gap in mm.

    AN4, where people spell and say numbers, is none.

    Raises FileNotFoundError when there are none in `cache`.
    """
    need_corpus(cache)
    clips = [clip for clip in read_clips(cache) if clip.split == "test" and clip.phones and _reads(clip)]
    if not clips:
        raise FileNotFoundError(f"There is no aligned English test clip of a reader in {cache}.")
    found = []
    for clip, motion in zip(clips, rules_motions([clip.phones or [] for clip in clips]), strict=True):
        gap = lip_gap(motion)
        curves = {"t": np.arange(len(gap)) / FPS, "aperture": gap, "speech": np.zeros(2)}
        found.append(EvalClip(clip.id, "readers", clip_speech(clip, cache, real), curves))
    return [found[i] for i in np.random.default_rng(11).permutation(len(found))]


def reader_rows(
    model: LipSyncModel, clips: Sequence[EvalClip], voices: list[np.ndarray], style: str | None = None
) -> list[Row]:
    """All clips as recorded; then WORSE of them, as recorded and in every condition of `robustness`.

    opening r, error: over all frames. shut: share of frames in which lips are pressed as in a closure, and in which the
    rules' are. kept: opening r as a part of that of the same clips as recorded.
    """
    gaps: dict[str, list[np.ndarray]] = {_ALL: [], _CLEAN: []}
    for number, clip in enumerate(tqdm(clips, "readers", leave=False)):
        found = _gaps(model, clip.speech, clip.reference, style)
        gaps[_ALL].append(found)
        if number < WORSE:
            gaps[_CLEAN].append(found)
            for condition, samples, reference in conditions(clip, voices, number):
                gaps.setdefault(condition, []).append(_gaps(model, Speech(samples), reference, style))
    rows = [{"heard": condition, "clips": len(clips[:WORSE]), **_figures(found)} for condition, found in gaps.items()]
    rows[0]["clips"], clean = len(clips), rows[1]["opening r"]
    return rows[:1] + [row | {"kept": kept(row["opening r"], clean)} for row in rows[1:]]


def _reads(clip: Clip) -> bool:
    return clip.source.startswith("real:") and clip.source != "real:an4" and clip.language.startswith("en")


def _gaps(model: LipSyncModel, speech: Speech, reference: dict[str, Any], style: str | None) -> np.ndarray:
    """The gap between the lips in mm, the model's and the reference's at the model's frames: (2, T)."""
    motion = model.run(speech, style)
    times = np.arange(len(motion.weights)) / motion.fps
    within = times <= reference["t"][-1]
    return np.stack([lip_gap(motion)[within], np.interp(times[within], reference["t"], reference["aperture"])])


def _figures(gaps: list[np.ndarray]) -> Row:
    """Over the frames of several clips, each (2, T)."""
    found, wanted = np.concatenate(gaps, axis=1)
    shut = (np.stack([found, wanted]) < NEUTRAL_GAP + PRESSED).mean(axis=1)
    return {
        "opening r": float(np.corrcoef(found, wanted)[0, 1]), "error mm": float(np.abs(found - wanted).mean()),
        "shut": float(shut[0]), "shut by the rules": float(shut[1]),
    }  # fmt: skip
