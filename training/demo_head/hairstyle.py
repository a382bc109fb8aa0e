# SPDX-License-Identifier: GPL-3.0-or-later
"""Short hair combed back: strands that run over the scalp, stored as points; they stand still."""

from __future__ import annotations

import gpytoolbox
import numpy as np
from matplotlib.path import Path as Polygon
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from .skin import Skin

STRANDS, POINTS, CLUMPS = 6500, 8, 380
# The hairline in profile, (z, y) in metres: forehead, temple, sideburn, around the ear, nape.
HAIRLINE = (
    (0.070, 0.094),
    (0.044, 0.090),
    (0.027, 0.082),
    (0.014, 0.065),
    (-0.002, 0.050),
    (-0.013, 0.030),
    (-0.021, 0.004),
    (-0.034, 0.002),
    (-0.037, 0.028),
    (-0.062, 0.031),
    (-0.075, 0.002),
    (-0.080, -0.035),
    (-0.088, -0.062),
    (-0.130, -0.066),
    (-0.200, -0.060),
    (-0.200, 0.200),
    (0.070, 0.200),
)


def inside_hairline(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Signed distance (n,) in metres, in profile, from the hairline; positive where hair grows."""
    line = np.array(HAIRLINE)
    dense = np.concatenate(
        [np.linspace(a, b, 24, endpoint=False) for a, b in zip(line, np.roll(line, -1, 0), strict=True)]
    )
    profile = points[:, [2, 1]]
    distance = cKDTree(dense).query(profile)[0]
    return np.where(Polygon(line).contains_points(profile), distance, -distance)


def build_strands(skin: Skin, generator: np.random.Generator) -> NDArray[np.float64]:
    """Strands (STRANDS, POINTS, 3) in metres, from root to tip."""
    roots, normal = _scatter(skin, generator)
    top = _smooth((normal[:, 1] + 0.55 * normal[:, 2] - 0.12) / 0.5) * _smooth((roots[:, 1] - 0.055) / 0.035)
    length = (0.009 + 0.031 * top) * (0.8 + 0.4 * generator.random(STRANDS))
    lift = (0.0020 + 0.0095 * top) * (0.7 + 0.5 * generator.random(STRANDS))
    lift *= 0.45 + 0.55 * _smooth(inside_hairline(roots) / 0.022)
    nearest = cKDTree(roots[:CLUMPS]).query(roots)[1]
    stray = 0.20 * generator.normal(size=(CLUMPS, 3))[nearest] + 0.06 * generator.normal(size=(STRANDS, 3))
    strands, here = [roots], roots
    for k in range(1, POINTS):
        s = k / (POINTS - 1)
        step = _comb(here, normal) + stray * s
        step -= (step * normal).sum(1, keepdims=True) * normal
        step /= np.linalg.norm(step, axis=1, keepdims=True)
        here, normal = _onto(skin, here + step * (length / (POINTS - 1))[:, None])
        strands.append(here + normal * (lift * (1 - (1 - s) ** 2.2))[:, None])
    result = np.stack(strands, 1)
    pull = 0.55 * np.linspace(0, 1, POINTS)[None, :, None] ** 1.3
    return result + pull * (result[nearest] - result)


def _comb(points: NDArray[np.float64], normal: NDArray[np.float64]) -> NDArray[np.float64]:
    """Direction (n,3) in which the hair lies: back over the top, down and back at the sides."""
    side = _smooth((np.abs(normal[:, 0]) - 0.55) / 0.4)[:, None]
    part = 0.25 * np.tanh(points[:, :1] / 0.04)
    over = np.concatenate([part, np.full_like(part, 0.0), np.full_like(part, -1.0)], 1)
    down = np.broadcast_to(np.array([0.0, -0.75, -0.75]), over.shape)
    return over * (1 - side) + down * side


def _smooth(t: NDArray[np.float64]) -> NDArray[np.float64]:
    t = np.clip(t, 0, 1)
    return t * t * (3 - 2 * t)


def _onto(skin: Skin, points: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The skin's closest points (n,3) and normals (n,3)."""
    _, face, bary = gpytoolbox.squared_distance(points, *skin.surface, use_cpp=True, use_aabb=True)
    corners = skin.points[skin.faces[face]]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    return (corners * bary[:, :, None]).sum(1), normal / np.linalg.norm(normal, axis=1, keepdims=True)


def _scatter(skin: Skin, generator: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Roots (STRANDS,3), denser near the hairline where the scalp would show, and normals."""
    corners = skin.points[skin.faces]
    cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    area = np.linalg.norm(cross, axis=1)
    inside = inside_hairline(corners.mean(1))
    front = _smooth((corners.mean(1)[:, 2] + 0.10) / 0.06)  # the camera sees the front half
    density = area * np.clip(inside / 0.004, 0, 1) * (0.5 + front) * (1 + 0.8 * np.exp(-np.abs(inside) / 0.01))
    face = generator.choice(len(area), STRANDS, p=density / density.sum())
    bary = generator.dirichlet((1, 1, 1), STRANDS)
    return (corners[face] * bary[:, :, None]).sum(1), cross[face] / area[face, None]
