# SPDX-License-Identifier: GPL-3.0-or-later
"""One part of the demo head: geometry at rest, and how it follows the 5023 FLAME vertices."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

FLAME_VERTICES = 5023

Points = NDArray[np.float64]
Faces = NDArray[np.int64]


@dataclass(frozen=True)
class Part:
    """Triangles with a material, a colour per vertex and a sparse map from FLAME offsets.

    `points` (N,3) metres at rest, `faces` (M,3), `colour` (N,3) linear RGB in [0,1],
    `weights` (N,5023): offset of a vertex = weights @ FLAME offsets.
    """

    points: Points
    faces: Faces
    material: str
    colour: Points
    weights: sp.csr_matrix

    def __post_init__(self) -> None:
        n = len(self.points)
        if self.weights.shape != (n, FLAME_VERTICES) or self.colour.shape != (n, 3):
            raise ValueError(
                f"part '{self.material}': {n} points, but weights {self.weights.shape}, colour {self.colour.shape}"
            )
        if self.faces.min() < 0 or self.faces.max() >= n:
            raise ValueError(f"part '{self.material}': a face names a vertex that does not exist")


def still(points: Points, faces: Faces, material: str, rgb: tuple[float, float, float]) -> Part:
    """A part of one colour that no expression moves."""
    return Part(
        points, faces, material, np.tile(np.array(rgb), (len(points), 1)), sp.csr_matrix((len(points), FLAME_VERTICES))
    )


def grid_faces(rows: int, columns: int) -> Faces:
    """Triangles (M,3) of a rows x columns grid of points numbered row by row, each row a ring."""
    r, c = (a.ravel() for a in np.meshgrid(np.arange(rows - 1), np.arange(columns), indexing="ij"))
    a, b = r * columns + c, r * columns + (c + 1) % columns
    return np.concatenate([np.stack([a, b, b + columns], 1), np.stack([a, b + columns, a + columns], 1)])
