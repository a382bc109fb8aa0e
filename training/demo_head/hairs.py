# SPDX-License-Identifier: GPL-3.0-or-later
"""Brows and lashes: tapered ribbons that follow the skin at their roots."""

from __future__ import annotations

import gpytoolbox
import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from .flame import Flame
from .part import Faces, Part, Points
from .skin import Skin

BROW = np.array([0.075, 0.042, 0.026])
LASH = np.array([0.020, 0.013, 0.010])
# MediaPipe numbers from the nose outwards, (the head's right side, its left side)
BROW_UPPER = ((107, 66, 105, 63, 70), (336, 296, 334, 293, 300))
BROW_LOWER = ((55, 65, 52, 53, 46), (285, 295, 282, 283, 276))
LID_UPPER = ((133, 173, 157, 158, 159, 160, 161, 246, 33), (362, 398, 384, 385, 386, 387, 388, 466, 263))
LID_LOWER = ((133, 155, 154, 153, 145, 144, 163, 7, 33), (362, 382, 381, 380, 374, 373, 390, 249, 263))
SEGMENTS = 3


def build_hairs(flame: Flame, skin: Skin, generator: np.random.Generator) -> list[Part]:
    """Brows and lashes of both sides."""
    parts = []
    for side, sign in ((0, -1.0), (1, 1.0)):
        parts.append(_brow(flame, skin, side, sign, generator))
        parts.append(_lashes(flame, skin, LID_UPPER[side], sign, +1, 80, generator))
        parts.append(_lashes(flame, skin, LID_LOWER[side], sign, -1, 34, generator))
    return parts


def _line(flame: Flame, numbers: tuple[int, ...], at: NDArray[np.float64]) -> Points:
    """Points (n,3) at parameters `at` in [0,1] along a polyline of landmarks."""
    line = np.array([flame.landmarks[i] for i in numbers])
    return np.stack([np.interp(at * (len(line) - 1), np.arange(len(line)), line[:, k]) for k in range(3)], 1)


def _brow(flame: Flame, skin: Skin, side: int, sign: float, generator: np.random.Generator) -> Part:
    count = 360
    u, v = generator.random(count) ** 0.9, generator.random(count)
    lower, upper = _line(flame, BROW_LOWER[side], u), _line(flame, BROW_UPPER[side], u)
    thin = 0.5 + (v - 0.5) * (0.72 - 0.35 * u**2) * np.where(u < 0.06, 0.8, 1.0)
    root = lower + (upper - lower) * thin[:, None]
    lean = np.clip(0.15 + 1.1 * u, 0, 1)[:, None]
    out = np.array([sign, 0, 0]) * lean + np.array([0, 1, 0]) * (1.05 - 1.15 * lean)
    out += np.array([sign * 0.1, 0, 0]) + 0.16 * generator.normal(size=(count, 3))
    length = (0.0045 + 0.0035 * np.sin(np.pi * (0.15 + 0.8 * u))) * (0.8 + 0.4 * generator.random(count))
    colour = BROW * (0.7 + 0.6 * generator.random((count, 1)))
    return _ribbons(skin, root, out, length, lift=0.16, width=0.00013, colour=colour)


def _lashes(
    flame: Flame, skin: Skin, lid: tuple[int, ...], sign: float, up: int, count: int, generator: np.random.Generator
) -> Part:
    u = np.sort(0.10 + 0.88 * generator.random(count))
    root = _line(flame, lid, u)
    fan = (u - 0.45)[:, None] * np.array([sign, 0, 0]) * 0.9
    out = fan + np.array([0, 0.30 * up, 0.95]) + 0.1 * generator.normal(size=(count, 3))
    length = (0.0048 if up > 0 else 0.0024) * (0.7 + 0.5 * np.sin(np.pi * np.clip(0.2 + 0.7 * u, 0, 1)))
    return _ribbons(
        skin, root, out, length, lift=0.0, width=0.00010, colour=np.tile(LASH, (count, 1)), curl=0.9 * up, free=True
    )


def _ribbons(
    skin: Skin,
    root: Points,
    out: Points,
    length: NDArray[np.float64],
    lift: float,
    width: float,
    colour: Points,
    curl: float = 0.0,
    free: bool = False,
) -> Part:
    """Hairs (n) from the skin nearest to `root` (n,3); `free` ones stand off it (lashes), others lie along it."""
    _, face, bary = gpytoolbox.squared_distance(root, *skin.surface, use_cpp=True, use_aabb=True)
    corners = skin.points[skin.faces[face]]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    start = (corners * bary[:, :, None]).sum(1)
    if not free:
        out = out - (out * normal).sum(1, keepdims=True) * normal
    direction = out / np.linalg.norm(out, axis=1, keepdims=True) + lift * normal
    across = np.cross(direction, [0, 1, 0.0] if free else normal)
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    rows = []
    for k in range(SEGMENTS):
        t = k / SEGMENTS
        middle = start + direction * (length * t)[:, None] + np.array([0, curl, 0]) * (length * t * t * 0.6)[:, None]
        middle = middle - normal * (lift * length * t * t * 0.7)[:, None]
        half = across * width * (1 - 0.6 * t)
        rows += [middle - half, middle + half]
    tip = start + direction * length[:, None] + np.array([0, curl, 0]) * (length * 0.6)[:, None]
    rows.append(tip - normal * (lift * length * 0.7)[:, None])
    points = np.stack(rows, 1).reshape(-1, 3)
    each = 2 * SEGMENTS + 1
    quads = [(2 * k, 2 * k + 1, 2 * k + 3, 2 * k + 2) for k in range(SEGMENTS - 1)]
    pattern = [(a, b, c) for a, b, c, _ in quads] + [(a, c, d) for a, _, c, d in quads]
    pattern.append((2 * SEGMENTS - 2, 2 * SEGMENTS - 1, 2 * SEGMENTS))
    faces: Faces = (np.arange(len(root))[:, None, None] * each + np.array(pattern)[None]).reshape(-1, 3)
    pick = sp.csr_matrix(
        (bary.ravel(), (np.repeat(np.arange(len(root)), 3), skin.faces[face].ravel())),
        shape=(len(root), len(skin.points)),
    )
    weights = sp.csr_matrix((pick @ skin.weights)[np.repeat(np.arange(len(root)), each)])
    return Part(points, faces, "hair", np.clip(np.repeat(colour, each, axis=0), 0, 1), weights)
