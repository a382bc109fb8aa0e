# SPDX-License-Identifier: GPL-3.0-or-later
"""Figures of merit of talking faces, with the conventions that the literature mixes up spelled out.

Motion is (T,V,3) in metres, FLAME order; a data set is a list of sequences, and pairs are cut to the shorter one.
"Pooled" means the mean over the frames of all sequences, as CodeTalker prints; values per sequence serve ``bootstrap``.
Regions are our own, derived from the blendshapes (``lip_vertices``, ``upper_face_vertices``), not FLAME's licensed
masks: figures compare models with each other, not with published tables.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from .geometry import lip_vertices
from .targets.phonetics import BILABIALS

_STILL = 1e-6  # of its size: a gap that changes by less does not move
_FEWEST = 8  # frames: of fewer the development clips' scorer makes no correlation, either

__all__ = [
    "bootstrap",
    "closure_recall",
    "correlation",
    "dynamics_deviation",
    "gap_scores",
    "landmark_error",
    "lip_error",
    "lip_error_squared",
    "lip_vertices",
    "mean_vertex_error",
    "seed_bootstrap",
    "similarity",
    "sync_offset",
    "upper_face_vertices",
]

Motion = Sequence[np.ndarray]


class Figure(NamedTuple):
    """A figure pooled over frames, and the same per sequence."""

    pooled: float
    each: np.ndarray


def upper_face_vertices(names: Sequence[str], deltas: np.ndarray, share: float = 0.15) -> np.ndarray:
    """Vertex ids of brows, forehead and eye region: moved by brow or eye shapes, not by the jaw."""

    def moved(*prefixes: str) -> np.ndarray:
        size = np.linalg.norm(deltas[[i for i, n in enumerate(names) if n.startswith(prefixes)]], axis=2)
        largest = size.max(axis=1, keepdims=True)
        return (size > share * np.where(largest > 0, largest, np.inf)).any(axis=0)

    return np.flatnonzero(moved("brow", "eyeBlink", "eyeSquint", "eyeWide") & ~moved("jawOpen"))


def _pairs(predicted: Motion, true: Motion) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    if len(predicted) != len(true):
        raise ValueError(f"There are {len(predicted)} predictions for {len(true)} true sequences.")
    for p, t in zip(predicted, true, strict=True):
        count = min(len(p), len(t))
        if count == 0:
            raise ValueError("A sequence has no frames.")
        yield np.asarray(p[:count], np.float64), np.asarray(t[:count], np.float64)


def _pool(frames: list[np.ndarray]) -> Figure:
    return Figure(float(np.concatenate(frames).mean()), np.array([f.mean() for f in frames]))


def lip_error_squared(predicted: Motion, true: Motion, lips: np.ndarray) -> Figure:
    """LVE, convention A (m^2): mean over frames of the largest squared distance of a lip vertex (CodeTalker,
    SelfTalk).
    """
    return _pool([((p - t)[:, lips] ** 2).sum(2).max(1) for p, t in _pairs(predicted, true)])


def lip_error(predicted: Motion, true: Motion, lips: np.ndarray) -> Figure:
    """LVE, convention B, also "lip max error" (m): mean over frames of the largest distance (MeshTalk, FaceFormer)."""
    return _pool([np.linalg.norm((p - t)[:, lips], axis=2).max(1) for p, t in _pairs(predicted, true)])


def mean_vertex_error(predicted: Motion, true: Motion, vertices: np.ndarray | None = None) -> Figure:
    """MVE (m), FaceDiffuser's: mean distance over frames and ``vertices`` (all when None; the scalp hardly moves)."""
    chosen = slice(None) if vertices is None else vertices
    return _pool([np.linalg.norm((p - t)[:, chosen], axis=2).mean(1) for p, t in _pairs(predicted, true)])


def dynamics_deviation(predicted: Motion, true: Motion, neutral: np.ndarray, upper: np.ndarray) -> tuple[Figure, float]:
    """FDD (m^2) as CodeTalker's code computes it, and the mean of its magnitude.

    For each upper-face vertex the standard deviation over time of the squared distance from ``neutral`` (V,3), true
    minus predicted, averaged; the signed mean over sequences lets over- and under-acting cancel, the magnitude doesn't.
    """

    def liveliness(motion: np.ndarray) -> np.ndarray:
        return ((motion - neutral)[:, upper] ** 2).sum(2).std(0)

    each = np.array([(liveliness(t) - liveliness(p)).mean() for p, t in _pairs(predicted, true)])
    return Figure(float(each.mean()), each), float(np.abs(each).mean())


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson's r of two curves over the frames where both are finite; 0 when one is constant but for rounding."""
    both = np.isfinite(a) & np.isfinite(b)
    if both.sum() < 2:
        return float("nan")
    if _still(a[both]) or _still(b[both]):
        return 0.0
    x, y = a[both] - a[both].mean(), b[both] - b[both].mean()
    return float((x * y).sum() / np.sqrt((x * x).sum() * (y * y).sum()))


def _still(curve: np.ndarray) -> bool:
    return bool(np.ptp(curve) <= _STILL * max(float(np.abs(curve).max()), 1e-12))


def gap_scores(predicted: np.ndarray, true: np.ndarray) -> tuple[float, float]:
    """Pearson's r and mean absolute error (unit of the curves) of two lip-gap curves (T,)."""
    count = min(len(predicted), len(true))
    p, t = predicted[:count], true[:count]
    return correlation(p, t), float(np.nanmean(np.abs(p - t)))


def closure_recall(
    gap: np.ndarray,
    fps: float,
    phones: Sequence[tuple[float, float, str]],
    threshold: float = 1.5e-3,
    window: float = 0.04,
) -> float:
    """Share of p, b, m during which the lip ``gap`` (T,) in metres falls below ``threshold`` within ``window`` s of the
    phone's centre. What was not tracked there does not count; NaN when there is none.
    """
    hits = []
    times = np.arange(len(gap)) / fps
    for start, end, name in phones:
        near = (np.abs(times - (start + end) / 2) <= window + 0.5 / fps) & np.isfinite(gap)
        if name in BILABIALS and near.any():
            hits.append(float(gap[near].min()) < threshold)
    return float(np.mean(hits)) if hits else float("nan")


def sync_offset(predicted: np.ndarray, true: np.ndarray, fps: float, reach: int = 10) -> float:
    """Seconds by which the predicted lip gap is late: the shift within ``reach`` frames with the highest
    correlation over _FEWEST frames or more. NaN when one of the gaps hardly changes, or less of it was tracked.
    """
    count = min(len(predicted), len(true))
    if count <= 2 * reach:
        raise ValueError(f"A sync offset needs more than {2 * reach} frames, there are {count}.")
    p, t = np.asarray(predicted)[:count], np.asarray(true)[:count]
    for gap in (p[np.isfinite(p)], t[np.isfinite(t)]):
        if not len(gap) or _still(gap):
            return float("nan")
    scores = []
    for shift in range(-reach, reach + 1):
        a, b = p[max(0, shift) : count + min(0, shift)], t[max(0, -shift) : count - max(0, shift)]
        enough = np.isfinite(a + b).sum() >= _FEWEST  # any two points lie on one line
        scores.append(correlation(a, b) if enough else float("nan"))
    return (int(np.nanargmax(scores)) - reach) / fps if np.isfinite(scores).any() else float("nan")


def similarity(points: np.ndarray, onto: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """Scale, rotation (2,2) and shift (2,) that bring ``points`` (N,2) closest onto ``onto``, without reflection
    (Umeyama).
    """
    p, q = points - points.mean(0), onto - onto.mean(0)
    u, sizes, vt = np.linalg.svd(q.T @ p)
    signs = np.array([1.0, np.sign(np.linalg.det(u @ vt))])
    rotation = u @ np.diag(signs) @ vt
    scale = float((sizes * signs).sum() / (p**2).sum())
    return scale, rotation, onto.mean(0) - scale * rotation @ points.mean(0)


def landmark_error(predicted: np.ndarray, detected: np.ndarray) -> tuple[float, float]:
    """Root mean square distance (pixels) of projected lips (T,K,2) from landmarks in the video, after alignment.

    First with one similarity for the sequence, which keeps errors of amplitude, then with one per frame. Frames in
    which the landmarks were not all found do not count; raises ValueError when there is no other.
    """
    count = min(len(predicted), len(detected))
    p, q = np.asarray(predicted[:count], float), np.asarray(detected[:count], float)
    found = np.isfinite(q).all(axis=(1, 2))
    if not found.any():
        raise ValueError("There is no frame in which all landmarks were found.")
    p, q = p[found], q[found]

    def rest(points: np.ndarray, onto: np.ndarray) -> np.ndarray:
        scale, rotation, shift = similarity(points.reshape(-1, 2), onto.reshape(-1, 2))
        return ((scale * points @ rotation.T + shift - onto) ** 2).sum(-1)

    per_frame = np.stack([rest(*frame) for frame in zip(p, q, strict=True)])
    return float(np.sqrt(rest(p, q).mean())), float(np.sqrt(per_frame.mean()))


def bootstrap(
    values: np.ndarray, baseline: np.ndarray | None = None, draws: int = 10_000, seed: int = 0
) -> tuple[float, float, float]:
    """Mean over clips with its 95 % interval; with ``baseline``, of the paired difference values - baseline.

    Clips are drawn with replacement, the same ones for both; of some thirty clips the interval holds the true mean
    in 93 to 95 of 100 cases, of few in fewer.
    """
    x = np.asarray(values, float)
    if baseline is not None:
        x = x - np.asarray(baseline, float)
    picks = np.random.default_rng(seed).integers(0, len(x), (draws, len(x)))
    low, high = np.percentile(x[picks].mean(1), (2.5, 97.5))
    return float(x.mean()), float(low), float(high)


def seed_bootstrap(
    values: np.ndarray, baseline: np.ndarray, draws: int = 10_000, seed: int = 0
) -> tuple[float, float, float]:
    """Mean of values - baseline, both (seeds, clips), with its 95 % interval over training seeds and clips.

    Each draw takes seeds and clips with replacement, the same ones for both: a difference that only one training run
    shows, or only one clip, does not count as one. Clips that are not finite in some run are left out. Three seeds are
    few to draw from: where runs differ as much as clips do, such an interval holds the true mean in 90 of 100 cases.
    """
    difference = np.asarray(values, float) - np.asarray(baseline, float)
    difference = difference[:, np.isfinite(difference).all(axis=0)]
    if difference.size == 0:
        return float("nan"), float("nan"), float("nan")
    random = np.random.default_rng(seed)
    runs = random.integers(0, len(difference), (draws, len(difference)))
    clips = random.integers(0, difference.shape[1], (draws, difference.shape[1]))
    means = [difference[np.ix_(r, c)].mean() for r, c in zip(runs, clips, strict=True)]
    low, high = np.percentile(means, (2.5, 97.5))
    return float(difference.mean()), float(low), float(high)
