# SPDX-License-Identifier: GPL-3.0-or-later
"""Eyes of our own: a ball with a painted, recessed iris under a clear cornea, where FLAME's eyeballs were."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .flame import EYEBALLS, Flame
from .part import Part, Points, grid_faces, still

IRIS_RADIUS, PUPIL_RADIUS = 0.0061, 0.0021  # metres
LOOK_AT = np.array([0.20, 0.0, 1.0])  # metres, FLAME axes: the demo's camera, to which the head is not quite turned
SCLERA, PUPIL = np.array([0.60, 0.56, 0.53]), np.array([0.004, 0.004, 0.004])
IRIS_OUTER, IRIS_INNER, LIMBUS = (
    np.array([0.055, 0.090, 0.095]),
    np.array([0.16, 0.15, 0.09]),
    np.array([0.015, 0.02, 0.022]),
)
COLUMNS = 48


def build_eyes(flame: Flame, generator: np.random.Generator) -> list[Part]:
    """Ball and cornea for both eyes."""
    return [part for centre, radius in eyeballs(flame) for part in _eye(centre, radius, generator)]


def eyeballs(flame: Flame) -> list[tuple[Points, float]]:
    """Centre and radius of both balls: a little smaller and deeper than FLAME's, so that moving lids clear them."""
    spheres = [fit_sphere(flame.points[which]) for which in EYEBALLS]
    return [(centre - [0, 0, 0.0005], radius - 0.0004) for centre, radius in spheres]


def fit_sphere(points: Points) -> tuple[Points, float]:
    """Centre (3,) and radius of the sphere nearest to `points` (N,3), by linear least squares."""
    system = np.concatenate([2 * points, np.ones((len(points), 1))], 1)
    solution = np.linalg.lstsq(system, (points**2).sum(1), rcond=None)[0]
    return solution[:3], float(np.sqrt(solution[3] + solution[:3] @ solution[:3]))


def _eye(centre: Points, radius: float, generator: np.random.Generator) -> list[Part]:
    look = LOOK_AT - centre
    look /= np.linalg.norm(look)
    right = np.cross([0, 1, 0], look)
    right /= np.linalg.norm(right)
    frame = np.stack([right, np.cross(look, right), look])  # rows: local axes
    limbus = np.arcsin(IRIS_RADIUS / radius)

    # Distances from the axis: pupil, iris, limbus, then the ball backwards.
    iris = np.array([0.0, 0.8, 0.97, 1.0, 1.03]) * PUPIL_RADIUS
    iris = np.concatenate([iris, np.linspace(1.2 * PUPIL_RADIUS, 0.97 * IRIS_RADIUS, 10), [IRIS_RADIUS]])
    edge_depth = radius * np.cos(limbus)
    iris_depth = edge_depth - 0.0005 - 0.0006 * (1 - iris / IRIS_RADIUS)
    ball = np.linspace(limbus * 1.015, np.pi * 0.98, 26)
    around = np.concatenate([iris, radius * np.sin(ball)])
    depth = np.concatenate([iris_depth, radius * np.cos(ball)])
    points = _turn(around, depth) @ frame + centre

    streak = generator.normal(size=COLUMNS)
    streak = (streak + np.roll(streak, 1)) * 0.16
    mix = np.clip((iris - PUPIL_RADIUS) / (IRIS_RADIUS - PUPIL_RADIUS), 0, 1)[:, None, None]
    colour = IRIS_INNER * (1 - mix) ** 1.5 + IRIS_OUTER * (1 - (1 - mix) ** 1.5)
    colour = colour * (1 + streak[None, :, None])
    colour = np.where(mix > 0.86, LIMBUS + 0 * colour, colour)
    colour = np.where(iris[:, None, None] <= PUPIL_RADIUS, PUPIL + 0 * colour, colour)
    white = np.broadcast_to(SCLERA, (len(ball), COLUMNS, 3)) * np.array([1, 0.99, 0.985])
    soft = np.exp(-(ball - limbus) / 0.045)[:, None, None]
    white = white * (1 - 0.75 * soft) + LIMBUS * 0.75 * soft
    paint = np.concatenate([colour, white]).reshape(-1, 3)
    faces = grid_faces(len(around), COLUMNS)
    body = still(points, faces, "eye", (0, 0, 0))
    body = Part(points, faces, "eye", np.clip(paint, 0, 1), body.weights)

    opening = np.linspace(0, 1, 9)  # cornea: a steeper cap that meets the ball a little behind the limbus
    foot = limbus * 1.12
    bulge = 0.0006 * np.cos(opening * np.pi / 2) ** 1.5
    cap = _turn((radius + bulge) * np.sin(opening * foot), (radius + bulge) * np.cos(opening * foot) + 0.00004)
    clear = still(cap @ frame + centre, grid_faces(len(opening), COLUMNS), "cornea", (1, 1, 1))
    return [body, clear]


def _turn(around: NDArray[np.float64], depth: NDArray[np.float64]) -> Points:
    """Points (rows*COLUMNS,3) of a profile turned about the local z axis."""
    angle = np.linspace(0, 2 * np.pi, COLUMNS, False)
    return np.stack(
        [
            around[:, None] * np.cos(angle),
            around[:, None] * np.sin(angle),
            np.broadcast_to(depth[:, None], (len(depth), COLUMNS)),
        ],
        -1,
    ).reshape(-1, 3)
