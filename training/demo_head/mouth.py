# SPDX-License-Identifier: GPL-3.0-or-later
"""Two rows of teeth, the gums and a tongue. Tooth sizes after Wheeler's Dental Anatomy, rounded."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .flame import Flame
from .jaw import jaw_weights
from .part import Faces, Part, Points, grid_faces, still

# (width, crown height) in mm, from the middle to the second molar
UPPER = ((8.4, 10.2), (6.6, 8.8), (7.4, 9.6), (6.9, 8.4), (6.7, 7.9), (10.0, 7.4), (9.4, 7.0))
LOWER = ((5.3, 8.8), (5.8, 9.0), (6.7, 9.8), (6.9, 8.6), (6.9, 8.0), (10.8, 7.5), (10.2, 7.0))
ARCH = (0.0268, 0.0385)  # half width and depth of the dental arch, metres
TOOTH = (0.82, 0.75, 0.62)
GUM = (0.50, 0.17, 0.16)
TONGUE = (0.58, 0.20, 0.18)


def build_mouth(flame: Flame) -> list[Part]:
    """Teeth, gums and tongue behind the lips; the lower ones hang on the jaw."""
    lip = flame.landmarks[13]  # middle of the upper lip's inner edge
    front = np.array([0.0, lip[1] - 0.0036, lip[2] - 0.0095])
    upper_teeth, upper_gum = _row(front, UPPER, 1.0, +1)
    lower_teeth, lower_gum = _row(front + np.array([0, 0.0016, -0.0029]), LOWER, 0.93, -1)
    tongue = _tongue(front + np.array([0, -0.0030, -0.0075]))
    parts = [still(*upper_teeth, "teeth", TOOTH), still(*upper_gum, "mouth", GUM)]
    for (points, faces), material, rgb in (
        (lower_teeth, "teeth", TOOTH),
        (lower_gum, "mouth", GUM),
        (tongue, "mouth", TONGUE),
    ):
        parts.append(
            Part(points, faces, material, np.tile(np.array(rgb), (len(points), 1)), jaw_weights(flame, points))
        )
    return parts


def _arch(scale: float) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Half an elliptic arch: angle (n,), arc length (n,) and position x, z (n,2) relative to its front, metres."""
    angle = np.linspace(0, np.pi / 2, 400)
    at = scale * np.stack([ARCH[0] * np.sin(angle), -ARCH[1] * (1 - np.cos(angle))], 1)
    length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(at, axis=0), axis=1))])
    return angle, length, at


def _row(
    front: Points, sizes: tuple[tuple[float, float], ...], scale: float, up: int
) -> tuple[tuple[Points, Faces], tuple[Points, Faces]]:
    """One row of teeth whose middle edge is at `front`, roots towards `up` (+1 or -1), and its gum."""
    _, length, at = _arch(scale)
    points, faces, count, start = [], [], 0, 0.0
    gum_line: list[NDArray[np.float64]] = []
    for number, (wide_mm, high_mm) in enumerate(sizes):
        wide, high = wide_mm / 1000 * scale, high_mm / 1000
        middle = start + wide / 2
        start += wide
        x, z = (np.interp(middle, length, at[:, k]) for k in (0, 1))
        ahead = np.array([np.interp(middle + 1e-4, length, at[:, k]) for k in (0, 1)]) - (x, z)
        ahead /= np.linalg.norm(ahead)
        deep = 0.0062 if number < 3 else 0.0088
        tooth, tooth_faces = _tooth(wide * 0.985, high + 0.003, deep, pointed=number == 2)
        edge = 0.0006 if number == 1 else 0.0  # lateral incisors are a little shorter
        for side in (1, -1):
            along, out = np.array([side * ahead[0], 0, ahead[1]]), np.array([-side * ahead[1], 0, ahead[0]])
            out = out if out[2] > 0 or side * out[0] > 0 else -out
            centre = front + np.array([side * x, up * (edge + (high + 0.003) / 2), z]) - out * deep / 2
            local = tooth * [1, up, 1]
            points.append(centre + local[:, :1] * along + local[:, 1:2] * [0, 1, 0] + local[:, 2:] * out)
            turn = np.linalg.det(np.stack([along, [0, 1, 0], out])) * up < 0
            faces.append((tooth_faces[:, ::-1] if turn else tooth_faces) + count)
            count += len(tooth)
        gum_line.append(np.array([x, up * (high * 0.99), z]))
    line = np.array(gum_line)
    line = np.concatenate([line[::-1] * [-1, 1, 1], line])
    return (np.concatenate(points), np.concatenate(faces)), _gum(front, line, up)


def _tooth(wide: float, high: float, deep: float, pointed: bool) -> tuple[Points, Faces]:
    """A superellipsoid, square in front and thinner towards its edge (which lies at -high/2)."""
    rows, columns = 10, 14
    v, u = np.meshgrid(
        np.linspace(-np.pi / 2, np.pi / 2, rows), np.linspace(0, 2 * np.pi, columns, False), indexing="ij"
    )

    def power(a: NDArray[np.float64], e: float) -> NDArray[np.float64]:
        return np.sign(a) * np.abs(a) ** e

    ring = power(np.cos(v), 0.45)
    points = np.stack([ring * power(np.cos(u), 0.6), power(np.sin(v), 0.55), ring * power(np.sin(u), 0.8)], -1)
    points = points.reshape(-1, 3)
    edge = (1 - points[:, 1]) / 2  # 1 at the biting edge
    points[:, 2] *= 1 - 0.45 * edge**1.5
    points[:, 0] *= 1 - 0.16 * (1 - edge) ** 1.2 - (0.35 * edge**3 if pointed else 0)
    return points * [wide / 2, high / 2, deep / 2], grid_faces(rows, columns)[:, ::-1]


def _gum(front: Points, line: Points, up: int) -> tuple[Points, Faces]:
    """A tube along the roots `line` (n,3)."""
    dense = np.stack([np.interp(np.linspace(0, 1, 40), np.linspace(0, 1, len(line)), line[:, k]) for k in range(3)], 1)
    columns = 12
    turn = np.linspace(0, 2 * np.pi, columns, False)
    forward = np.gradient(dense, axis=0) * [1, 0, 1]
    forward /= np.linalg.norm(forward, axis=1, keepdims=True)
    out = np.cross(forward, [0, 1, 0])
    centre = front + dense + np.array([0, up * 0.0038, 0]) - out * 0.0036
    points = (
        centre[:, None]
        + 0.0046 * np.cos(turn)[:, None] * out[:, None]
        + 0.0052 * np.sin(turn)[:, None] * np.array([0, 1.0, 0])
    )
    return points.reshape(-1, 3), grid_faces(len(dense), columns)


def _tongue(tip: Points) -> tuple[Points, Faces]:
    """A flattened body from its tip back, with a groove along its middle."""
    rows, columns = 22, 24
    s = np.linspace(0, 1, rows)[:, None]
    turn = np.linspace(0, 2 * np.pi, columns, False)[None]
    width = 0.0195 * np.sqrt(np.clip(1 - (1 - np.minimum(s / 0.55, 1)) ** 2.2, 0, 1))
    thick = 0.0062 * np.sqrt(np.clip(1 - (1 - np.minimum(s / 0.3, 1)) ** 2, 0, 1))
    x = width * np.cos(turn)
    y = thick * np.sin(turn) + 0.008 * np.sin(s * 2.4) - 0.004 * s
    y = y - 0.0016 * np.exp(-((x / 0.004) ** 2)) * (np.sin(turn) > 0) * np.minimum(s * 4, 1)
    z = -0.046 * s + 0 * turn
    return tip + np.stack([x, y, z], -1).reshape(-1, 3), grid_faces(rows, columns)
