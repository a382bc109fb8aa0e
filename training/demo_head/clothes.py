# SPDX-License-Identifier: GPL-3.0-or-later
"""A plain jumper with a round collar, lofted around the neck, so that the picture has no cut edge."""

from __future__ import annotations

import numpy as np

from .part import Part, Points, grid_faces, still
from .skin import Skin

COLUMNS = 96
CLOTH = (0.045, 0.060, 0.085)
NECK_Z = -0.062  # metres: the neck's axis
TUCK_FROM = -0.094  # metres: below this height the skin is pulled in
# height at the sides (FLAME y), half width, half depth, shift of the centre in z, dip of the front (metres); squareness
PROFILE = (
    (-0.1360, 0.0600, 0.0520, 0.000, 0.028, 2.00),
    (-0.1100, 0.0620, 0.0530, 0.000, 0.028, 2.00),
    (-0.1035, 0.0635, 0.0545, 0.000, 0.028, 2.00),
    (-0.1005, 0.0660, 0.0570, 0.000, 0.028, 2.00),
    (-0.1015, 0.0690, 0.0600, 0.000, 0.028, 2.00),
    (-0.1060, 0.0712, 0.0630, 0.001, 0.028, 2.00),
    (-0.1122, 0.0728, 0.0655, 0.002, 0.028, 2.00),
    (-0.1180, 0.0745, 0.0685, 0.003, 0.028, 2.00),
    (-0.1210, 0.0790, 0.0715, 0.004, 0.029, 2.00),
    (-0.1273, 0.0920, 0.0765, 0.005, 0.031, 2.05),
    (-0.1357, 0.1120, 0.0830, 0.006, 0.030, 2.10),
    (-0.1460, 0.1350, 0.0900, 0.008, 0.034, 2.20),
    (-0.1593, 0.1570, 0.0965, 0.009, 0.038, 2.30),
    (-0.1787, 0.1760, 0.1030, 0.010, 0.039, 2.40),
    (-0.2100, 0.1890, 0.1090, 0.010, 0.034, 2.40),
    (-0.2600, 0.1960, 0.1150, 0.010, 0.020, 2.40),
    (-0.3400, 0.1980, 0.1170, 0.010, 0.006, 2.40),
)


def build_jumper() -> Part:
    """The jumper as one loft; it stands still."""
    angle = np.linspace(0, 2 * np.pi, COLUMNS, False)
    c, s = np.cos(angle), np.sin(angle)
    rings: list[Points] = []
    for height, wide, deep, shift, dip, square in PROFILE:
        radius = (np.abs(c) ** square + np.abs(s) ** square) ** (-1 / square)
        forward = (s + 1) / 2
        rings.append(
            np.stack(
                [wide * radius * c, height - dip * forward + 0.008 * (1 - forward), NECK_Z + shift + deep * radius * s],
                1,
            )
        )
    return still(np.concatenate(rings), grid_faces(len(rings), COLUMNS), "cloth", CLOTH)


def tuck_into_collar(skin: Skin) -> Skin:
    """Pull FLAME's shoulders into the collar, where the jumper hides them, and cut the skin off below it."""
    across = np.array([PROFILE[1][1], PROFILE[1][2]]) - 0.004
    plane = (skin.points[:, [0, 2]] - [0, NECK_Z]) / across
    beyond = np.maximum(np.linalg.norm(plane, axis=1), 1)
    low = np.clip((TUCK_FROM - skin.points[:, 1]) / 0.012, 0, 1)
    pull = 1 + (1 / beyond - 1) * low
    points = skin.points.copy()
    points[:, [0, 2]] = plane * pull[:, None] * across + [0, NECK_Z]
    faces = skin.faces[~(points[:, 1] < -0.150)[skin.faces].any(1)]
    used, index = np.unique(faces, return_inverse=True)
    return Skin(points[used], index.reshape(-1, 3), skin.weights[used], skin.cavity[used])
