# SPDX-License-Identifier: GPL-3.0-or-later
"""How what hangs on the jaw bone (lower teeth, gum, tongue) follows FLAME, which has no such vertices.

The bone's motion in the four jaw shapes is a rigid fit to the chin (Kabsch 1976). A linear map from FLAME offsets
that reproduces it, and that keeps still in every other shape, is then found by ridge regression over a few
hundred skin vertices, so that the same sparse map serves shape keys and free FLAME-order offsets alike.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from .flame import HEAD_VERTICES, Flame
from .part import FLAME_VERTICES

JAW_SHAPES = ("jawOpen", "jawForward", "jawLeft", "jawRight")
ANCHORS = 72
RIDGE = 2e-7  # metres squared, on weights: keeps single weights well below one


def jaw_weights(flame: Flame, points: NDArray[np.float64]) -> sp.csr_matrix:
    """Map (N,5023) that moves `points` (N,3) with the jaw bone."""
    anchors = _anchors(flame)
    shapes = list(flame.deltas)
    design = np.concatenate([flame.deltas[n][anchors].T for n in shapes])  # (55*3, anchors)
    wanted = np.concatenate([_bone_offsets(flame, n, points).T for n in shapes])  # (55*3, N)
    solution = np.linalg.solve(design.T @ design + RIDGE * np.eye(len(anchors)), design.T @ wanted)
    row = np.repeat(np.arange(len(points)), len(anchors))
    return sp.csr_matrix(
        (solution.T.ravel(), (row, np.tile(anchors, len(points)))), shape=(len(points), FLAME_VERTICES)
    )


def _chin(flame: Flame) -> NDArray[np.bool_]:
    """Mask (5023,) of the skin that lies on the jaw bone and moves with it."""
    opening = np.linalg.norm(flame.deltas["jawOpen"], axis=1)
    lip = flame.landmarks[17]  # lower edge of the lower lip
    mask = (opening > 0.5 * opening.max()) & (flame.points[:, 1] < lip[1] - 0.004)
    mask[HEAD_VERTICES:] = False
    return mask


def _anchors(flame: Flame) -> NDArray[np.int64]:
    """Vertices that the jaw moves much and lips, cheeks and brows little, spread over the jaw."""
    jaw = np.linalg.norm(flame.deltas["jawOpen"], axis=1)
    other = sum(np.linalg.norm(d, axis=1) for n, d in flame.deltas.items() if n not in JAW_SHAPES and n != "mouthClose")
    score = jaw / (0.02 + other)
    score[HEAD_VERTICES:] = 0
    candidates = np.argsort(-score)[: 6 * ANCHORS]
    chosen = [candidates[0]]
    distance = np.full(len(candidates), np.inf)
    while len(chosen) < ANCHORS:  # farthest point sampling
        step = np.linalg.norm(flame.points[candidates] - flame.points[chosen[-1]], axis=1)
        distance = np.minimum(distance, step)
        chosen.append(candidates[int(distance.argmax())])
    return np.sort(np.array(chosen))


def _bone_offsets(flame: Flame, shape: str, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Offsets (N,3) of `points` under the rigid motion of the bone in one shape; zero if it is no jaw shape."""
    if shape not in JAW_SHAPES:
        return np.zeros_like(points)
    source = flame.points[_chin(flame)]
    target = source + flame.deltas[shape][_chin(flame)]
    a, b = source.mean(0), target.mean(0)
    u, _, vt = np.linalg.svd((source - a).T @ (target - b))
    flip = np.diag([1, 1, np.sign(np.linalg.det(vt.T @ u.T))])
    rotation = vt.T @ flip @ u.T
    return (points - a) @ rotation.T + b - points
