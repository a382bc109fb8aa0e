# SPDX-License-Identifier: GPL-3.0-or-later
"""Colours of the skin, vertex by vertex: lips, cheeks, nose, ears, lids, shaved hair, the inside of the mouth."""

from __future__ import annotations

import numpy as np
from matplotlib.path import Path as Polygon
from numpy.typing import NDArray

from .flame import Flame
from .hairstyle import inside_hairline
from .part import Part, Points
from .skin import Skin

SKIN = np.array([0.56, 0.335, 0.235])
LIPS = np.array([0.41, 0.15, 0.125])
SCALP = np.array([0.060, 0.036, 0.024])
INSIDE = np.array([0.20, 0.045, 0.040])
# MediaPipe's outline of the lips, as far as the reference data has it
LIP_OUTLINE = (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 375, 321, 405, 314, 17, 84, 181, 91)


def skin_parts(flame: Flame, skin: Skin) -> list[Part]:
    """The painted skin, and the mouth cavity as a part of its own, because it is another material."""
    colour = paint_skin(flame, skin)
    deep = (skin.cavity > 0.6)[skin.faces].all(1)
    parts = []
    for material, faces in (("skin", skin.faces[~deep]), ("mouth", skin.faces[deep])):
        used, index = np.unique(faces, return_inverse=True)
        parts.append(Part(skin.points[used], index.reshape(-1, 3), material, colour[used], skin.weights[used]))
    return parts


def paint_skin(flame: Flame, skin: Skin) -> Points:
    """Linear RGB (N,3) of the skin's vertices."""
    points, marks = skin.points, flame.landmarks
    colour = np.tile(SKIN, (len(points), 1))
    lips = lip_mask(flame, points) * (1 - skin.cavity)

    def spot(centre: Points, size: float, strength: float, tint: tuple[float, float, float]) -> None:
        near = strength * np.exp(-((points - centre) ** 2).sum(1) / (2 * size**2))[:, None]
        colour[:] = colour * (1 - near + near * np.array(tint))

    for side in (1, -1):
        spot(marks[4] + [side * 0.040, -0.004, -0.022], 0.017, 0.5, (1.06, 0.80, 0.76))  # cheek
        spot(marks[6] + [side * 0.030, -0.002, -0.020], 0.011, 0.45, (0.88, 0.72, 0.72))  # round the eye
        spot(np.array([side * 0.072, 0.0, -0.015]), 0.018, 0.5, (1.02, 0.75, 0.70))  # ear
    spot(marks[4], 0.010, 0.5, (1.04, 0.78, 0.74))
    spot(marks[17] + [0, -0.022, 0], 0.012, 0.3, (1.03, 0.86, 0.84))  # chin
    colour = colour * (1 - lips[:, None]) + LIPS * lips[:, None]
    hair = 0.85 / (1 + np.exp(-inside_hairline(points)[:, None] / 0.0022))
    hair *= 1 - skin.cavity[:, None]
    colour = colour * (1 - hair) + SCALP * hair
    inside = np.clip(skin.cavity * 1.6, 0, 1)[:, None]
    return np.clip(colour * (1 - inside) + INSIDE * inside, 0, 1)


def lip_mask(flame: Flame, points: Points, soft: float = 0.0011) -> NDArray[np.float64]:
    """How far a point (N,3) belongs to the lips, 0..1, by MediaPipe's outline seen from the front."""
    outline = np.array([flame.landmarks[i][:2] for i in LIP_OUTLINE])
    dense = np.concatenate(
        [np.linspace(a, b, 12, endpoint=False) for a, b in zip(outline, np.roll(outline, -1, 0), strict=True)]
    )
    distance = np.min(np.linalg.norm(points[:, None, :2] - dense[None], axis=2), axis=1)
    signed = np.where(Polygon(outline).contains_points(points[:, :2]), distance, -distance)
    front = points[:, 2] > flame.landmarks[61][2] - 0.012
    return front / (1 + np.exp(-np.clip(signed / (soft / 2), -30, 30)))
