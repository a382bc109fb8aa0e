# SPDX-License-Identifier: GPL-3.0-or-later
"""The reference data the head is built from: FLAME 2023 Open and the ARKit deltas, with one sampled identity."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

SEED, SPREAD = 15, 0.8  # the identity: chosen by eye among a dozen
HEAD_VERTICES = 3931  # FLAME numbers the head first, then the two eyeballs
EYEBALLS = (slice(3931, 4477), slice(4477, 5023))


@dataclass(frozen=True)
class Flame:
    """FLAME with an identity: `points` (5023,3) metres, `faces` (9976,3), `deltas` name -> (5023,3) metres,
    `landmarks` MediaPipe number -> (3,) metres.
    """

    points: NDArray[np.float64]
    faces: NDArray[np.int64]
    deltas: dict[str, NDArray[np.float64]]
    landmarks: dict[int, NDArray[np.float64]]

    @classmethod
    def load(cls, folder: Path, seed: int = SEED, spread: float = SPREAD) -> Flame:
        """Read the two files of `folder` and sample an identity: normal coefficients times `spread`."""
        with np.load(folder / "flame2023open_subset.npz", allow_pickle=False) as file:
            template = file["v_template"].astype(float)
            faces = file["faces"].astype(np.int64)
            basis = file["identity_basis"].astype(float)
            face_of, bary, number = (file[f"lmk_{k}"] for k in ("face_idx", "b_coords", "mediapipe_idx"))
        with np.load(folder / "arkit_deltas.npz", allow_pickle=False) as file:
            deltas = {str(n): d.astype(float) for n, d in zip(file["names"], file["deltas"], strict=True)}
        points = template + basis @ (np.random.default_rng(seed).normal(size=basis.shape[2]) * spread)
        marks = np.einsum("lk,lkc->lc", bary, points[faces[face_of]])
        return cls(points, faces, deltas, {int(n): p for n, p in zip(number, marks, strict=True)})

    def pose(self, **weights: float) -> NDArray[np.float64]:
        """Offsets (5023,3) of a mix of ARKit shapes."""
        return sum((w * self.deltas[n] for n, w in weights.items()), np.zeros_like(self.points))

    @property
    def head_faces(self) -> NDArray[np.int64]:
        """Faces of the head without the eyeballs."""
        return self.faces[(self.faces < HEAD_VERTICES).all(1)]
