# SPDX-License-Identifier: GPL-3.0-or-later
"""The skin: FLAME's head surface with a mouth cavity added, sampled anew so that none of its vertices remain.

The surface is subdivided (Loop 1987) and remeshed isotropically (Botsch & Kobbelt 2004) with the mouth ajar,
so that the lips stay apart, and in a warped space that magnifies the face, so that one edge length there means
1.5 mm around the mouth and 5 mm at the back of the head.
"""

from __future__ import annotations

from dataclasses import dataclass

import gpytoolbox
import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from .flame import HEAD_VERTICES, Flame
from .part import FLAME_VERTICES

AJAR = {"jawOpen": 0.55, "eyeWideLeft": 0.6, "eyeWideRight": 0.6}
RELAXED = {"eyeBlinkLeft": 0.2, "eyeBlinkRight": 0.2, "mouthSmileLeft": 0.10, "mouthSmileRight": 0.10}  # at rest
EDGE = 0.0019  # metres, at the centre of the warp
WARP_RADIUS = 0.045  # metres: where edges are about 1.3 times longer
# Rings of the mouth cavity behind the lips: depth in metres, widening (x, up, down), share of the lips' motion.
CAVITY = (
    (0.005, 1.10, 1.15, 1.10, 0.95),
    (0.014, 1.28, 1.3, 1.25, 0.85),
    (0.028, 1.30, 1.35, 1.3, 0.6),
    (0.042, 1.05, 1.1, 1.2, 0.35),
    (0.054, 0.55, 0.5, 0.7, 0.1),
)


@dataclass(frozen=True)
class Skin:
    """`points` (N,3) at rest, `faces` (M,3), `weights` (N,5023), `cavity` (N,) 0 on skin .. 1 inside the mouth."""

    points: NDArray[np.float64]
    faces: NDArray[np.int64]
    weights: sp.csr_matrix
    cavity: NDArray[np.float64]

    @property
    def surface(self) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
        """Points and faces as gpytoolbox takes them."""
        return self.points, self.faces.astype(np.int32)


def build_skin(flame: Flame) -> Skin:
    """Subdivide, remesh and map the head surface."""
    pose = flame.pose(**AJAR)
    points, faces, rows, cavity = _with_cavity(flame, pose)
    _, fine, subdivision = gpytoolbox.subdivide(points, faces, method="loop", iters=2, return_matrix=True)
    posed = subdivision @ points
    centre = (flame.landmarks[13] + flame.landmarks[6]) / 2  # between the inner lips and the bridge of the nose
    warped, new_faces = gpytoolbox.remesh_botsch(_warp(posed, centre), fine.astype(np.int32), 12, EDGE, True)
    sample = _barycentric(warped, _warp(posed, centre), fine)
    sampling = sample @ subdivision
    weights = sp.csr_matrix(sampling @ rows)
    weights.data[np.abs(weights.data) < 1e-4] = 0
    weights.eliminate_zeros()
    rest = sampling @ points + weights @ (flame.pose(**RELAXED) - pose)
    return Skin(rest, new_faces.astype(np.int64), weights, np.clip(sampling @ cavity, 0, 1))


def _warp(points: NDArray[np.float64], centre: NDArray[np.float64]) -> NDArray[np.float64]:
    """Pull points (N,3) towards `centre`: r -> s asinh(r/s), one to one, unit scale at the centre."""
    away = points - centre
    radius = np.linalg.norm(away, axis=1, keepdims=True)
    ratio = np.maximum(radius / WARP_RADIUS, 1e-9)
    return centre + away * np.arcsinh(ratio) / ratio


def _barycentric(query: NDArray[np.float64], points: NDArray[np.float64], faces: NDArray[np.int64]) -> sp.csr_matrix:
    """Matrix (N,P) that reads a surface quantity at the point of the surface closest to each query point."""
    _, face, bary = gpytoolbox.squared_distance(query, points, faces.astype(np.int32), use_cpp=True, use_aabb=True)
    row = np.repeat(np.arange(len(query)), 3)
    return sp.csr_matrix((bary.ravel(), (row, faces[face].ravel())), shape=(len(query), len(points)))


def _mouth_rim(faces: NDArray[np.int64], points: NDArray[np.float64]) -> NDArray[np.int64]:
    """The boundary loop (n+1,) behind the lips, in the direction of its faces' edges; first vertex repeated."""
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    have = {(int(a), int(b)) for a, b in edges}
    follow = {a: b for a, b in have if (b, a) not in have}
    start = max(follow, key=lambda i: points[i, 2])  # the other loop, the neck, lies further back
    loop = [start]
    while len(loop) == 1 or loop[-1] != start:
        loop.append(follow[loop[-1]])
    return np.array(loop)


def _with_cavity(
    flame: Flame, pose: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.int64], sp.csr_matrix, NDArray[np.float64]]:
    """Posed head points with a bag behind the lips, faces, map rows (n,5023) and cavity mask (n,)."""
    head = (flame.points + pose)[:HEAD_VERTICES]
    faces = flame.head_faces
    loop = _mouth_rim(faces, flame.points)[:-1]
    rim, middle = head[loop], head[loop].mean(0)
    points, new_faces = [head], [faces]
    row, column, share = [np.arange(HEAD_VERTICES)], [np.arange(HEAD_VERTICES)], [np.ones(HEAD_VERTICES)]
    previous, count = loop, HEAD_VERTICES
    for depth, wide, up, down, follow in CAVITY:
        ring = middle + (rim - middle) * np.stack(
            [np.full(len(rim), wide), np.where(rim[:, 1] > middle[1], up, down), np.full(len(rim), 0.6)], 1
        )
        ring[:, 2] = ring[:, 2] - depth
        ids = np.arange(count, count + len(loop))
        points.append(ring)
        row.append(ids)
        column.append(loop)
        share.append(np.full(len(loop), follow))
        a, b, c, d = previous, np.roll(previous, -1), ids, np.roll(ids, -1)
        new_faces += [np.stack([b, a, c], 1), np.stack([b, c, d], 1)]
        previous, count = ids, count + len(loop)
    points.append(points[-1].mean(0, keepdims=True) - [[0, 0, 0.004]])
    new_faces.append(np.stack([np.roll(previous, -1), previous, np.full(len(loop), count)], 1))
    rows = sp.csr_matrix(
        (np.concatenate(share), (np.concatenate(row), np.concatenate(column))), shape=(count + 1, FLAME_VERTICES)
    )
    cavity = np.zeros(count + 1)
    cavity[HEAD_VERTICES:] = 1
    return np.concatenate(points), np.concatenate(new_faces), rows, cavity
