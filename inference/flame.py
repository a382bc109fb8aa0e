# SPDX-License-Identifier: GPL-3.0-or-later
"""FLAME topology: recognising it, finding how a mesh lies in space, and the ARKit blendshapes on it.

The folder vendored_models/flame holds no FLAME template and no face list, only a hash of the edge list, a few
anatomical vertices and the blendshape deltas (made by `training/flame_data.py`).
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from .errors import MeshError

VERTEX_COUNT = 5023
# Vertices (upper, lower) next to MediaPipe's inner-lip pairs 13/14, 82/87, 312/317, and how far apart they are on the
# neutral face: metres, mean of the pairs.
INNER_LIPS = ((3531, 3504), (2786, 2938), (1669, 1849))
LIP_GAP = 1.84e-3
_FOLDER = Path(__file__).resolve().parent.parent / "vendored_models" / "flame"
# 200 sampled identities misfit by 4 % (median) to 8 %; FLAME's own edges have a roughness of 0.14. A tenth of the
# vertices shuffled gives 56 % and 0.46, all shifted by one 92 % and 0.74.
_LARGEST_MISFIT = 0.2
_LARGEST_ROUGHNESS = 0.2


@dataclass(frozen=True)
class MeshFit:
    """How a FLAME-topology mesh lies in its own space.

    linear: (3, 3), scale times rotation: mesh-space delta = FLAME delta (metres) @ linear.T.
    offset: (3,), mesh-space position of FLAME's origin.
    scale: mesh units per metre.
    misfit: root mean square distance of the anatomical vertices, relative to their spread.
    warning: one sentence when the topology is plausible but not FLAME's own, else None.
    """

    linear: np.ndarray
    offset: np.ndarray
    scale: float
    misfit: float
    warning: str | None = None


@dataclass(frozen=True)
class FlameTopology:
    """What is known of FLAME's mesh: edge hash and anatomical vertices (ids (n,), positions (n, 3) in metres)."""

    edge_sha256: str
    landmark_ids: np.ndarray
    landmark_positions: np.ndarray

    @staticmethod
    @lru_cache(maxsize=1)
    def load() -> FlameTopology:
        """The vendored description."""
        data = json.loads((_FOLDER / "topology.json").read_text(encoding="utf-8"))
        return FlameTopology(
            data["edge_sha256"],
            np.array([mark["vertex"] for mark in data["landmarks"]]),
            np.array([mark["position"] for mark in data["landmarks"]], np.float64),
        )

    def check(self, vertices: np.ndarray, edges: np.ndarray) -> MeshFit:
        """How the mesh with `vertices` (V, 3), any unit, and `edges` (E, 2) carries FLAME offsets.

        Raises MeshError when it is not FLAME, or FLAME's vertices in another order.
        """
        if len(vertices) != VERTEX_COUNT:
            raise MeshError(
                f"The mesh has {len(vertices)} vertices and a FLAME head has {VERTEX_COUNT}; choose a FLAME-topology "
                "head, or a mesh with ARKit shape keys such as jawOpen."
            )
        points = np.asarray(vertices, np.float64)[self.landmark_ids]
        if not np.isfinite(vertices).all():
            raise MeshError("The mesh has vertices that are not numbers; clean it up or import it again.")
        same = edge_hash(edges) == self.edge_sha256
        linear, offset, misfit = similarity(self.landmark_positions, points)
        if misfit > _LARGEST_MISFIT or (not same and _roughness(edges) > _LARGEST_ROUGHNESS):
            raise MeshError(
                "The mesh has as many vertices as a FLAME head, but in another order; import it again with the vertex "
                "order kept."
            )
        warning = (
            None
            if same
            else (
                "The mesh has FLAME's vertex count but not its edges; look at the lips before you rely on the result."
            )
        )
        return MeshFit(linear, offset, float(np.cbrt(abs(np.linalg.det(linear)))), misfit, warning)


@lru_cache(maxsize=1)
def arkit_basis() -> tuple[tuple[str, ...], np.ndarray]:
    """Names (55) and deltas float32 (55, 5023, 3), metres, FLAME axes (+Y up, +Z forward); not to be written to."""
    with np.load(_FOLDER / "arkit_deltas.npz", allow_pickle=False) as data:
        names, moving = tuple(str(name) for name in data["names"]), data["deltas"]
    # The eyeballs, the last vertices, do not move and are not stored.
    deltas = np.zeros((len(names), VERTEX_COUNT, 3), np.float32)
    deltas[:, : moving.shape[1]] = moving
    deltas.flags.writeable = False
    return names, deltas


def edge_hash(edges: np.ndarray) -> str:
    """SHA-256 of the undirected edge list (E, 2), whatever its order and direction."""
    ordered = np.unique(np.sort(np.asarray(edges, np.int32).reshape(-1, 2), axis=1), axis=0)
    return hashlib.sha256(ordered.astype("<i4").tobytes()).hexdigest()


def similarity(source: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Least-squares similarity of `source` (n, 3) onto `target` (n, 3): target ≈ source @ linear.T + offset.

    Umeyama, PAMI 1991, with a mirror image allowed where it fits better. Returns linear (3, 3), offset (3,) and the
    root mean square residual relative to the spread of `target` (1 when the points coincide).
    """
    centre_s, centre_t = source.mean(axis=0), target.mean(axis=0)
    s, t = source - centre_s, target - centre_t
    spread = np.square(t).sum()
    if spread <= 0:
        return np.eye(3), centre_t, 1.0
    u, singular, vt = np.linalg.svd(t.T @ s)
    linear = singular.sum() / np.square(s).sum() * (u @ vt)
    residual = np.square(s @ linear.T - t).sum()
    return linear, centre_t - centre_s @ linear.T, float(np.sqrt(residual / spread))


def _roughness(edges: np.ndarray) -> float:
    """Mean change of the jawOpen and mouthClose deltas along `edges`, relative to their mean size.

    Deltas are smooth over a face: where neighbours in the mesh move unalike, vertices are in another order.
    """
    names, deltas = arkit_basis()
    pairs = np.asarray(edges).reshape(-1, 2)
    if len(pairs) == 0:
        return 1.0
    field = np.concatenate([deltas[names.index(name)] for name in ("jawOpen", "mouthClose")], axis=1)
    return float(np.abs(field[pairs[:, 0]] - field[pairs[:, 1]]).mean() / np.abs(field).mean())
