# SPDX-License-Identifier: GPL-3.0-or-later
"""Vertex motion seen as ARKit blendshapes, with the rest kept as a few principal shapes.

A vertex model's motion is linear in a small basis (FaceFormer: 64 features), so everything here happens between small
Gram matrices; no vertex is formed but for the report in metres.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from .errors import ModelError
from .flame import VERTEX_COUNT, arkit_basis
from .model_package import ModelPackage
from .motion import FaceMotion
from .principal import decompose

# Of the mean squared size of a blendshape: enough that two alike shapes share a movement instead of fighting over it.
_RIDGE = 1e-3
_SWEEPS, _CONVERGED = 200, 1e-6
_BLOCK = 2048  # frames that are solved at once
_PREFIX = "residual"


@dataclass(frozen=True)
class ArkitView:
    """A vertex motion over ARKit blendshapes.

    motion: ARKit names first, then principal shapes `residual_00`, …, largest first.
    rms, largest: distance in metres of a vertex to where the model puts it without the principal shapes, over all
    frames. left: the largest distance with them.
    """

    motion: FaceMotion
    rms: float
    largest: float
    left: float


def blendshape_names(package: ModelPackage) -> tuple[str, ...]:
    """The ARKit blendshapes that a package's motion can be shown on, in the order of its weights.

    Raises ModelError for a model of another mesh than FLAME's.
    """
    if package.output_kind == "blendshapes":
        return package.output_names
    if package.vertices != VERTEX_COUNT:
        raise ModelError(f"The model “{package.name}” moves a mesh of {package.vertices} vertices, not a FLAME head.")
    return _moving_blendshapes()[0]


def check_mesh(vertices: int) -> None:
    """Raises ModelError unless a mesh of so many vertices has ARKit blendshapes."""
    if vertices != VERTEX_COUNT:
        raise ModelError("The model moves a mesh for which there are no ARKit blendshapes; bake its vertices instead.")


def arkit_view(motion: FaceMotion, tolerance: float = 0.0) -> ArkitView:
    """Solve `motion` (kind "vertices", FLAME's 5023 vertices) onto the ARKit blendshapes, weights in 0…1.

    Bounded least squares per frame; what is left is decomposed into principal shapes, as many as keep every vertex
    within `tolerance` metres (0: all, so that nothing but float32 rounding is lost). Raises ModelError for a mesh
    without ARKit blendshapes.
    """
    check_mesh(motion.basis.shape[1])
    names, shapes = _moving_blendshapes()
    features = motion.basis.reshape(len(motion.names), -1)
    both = np.concatenate([features, shapes]).astype(np.float64)
    gram = both @ both.T
    own = slice(len(features), None)
    ridge = _RIDGE * np.trace(gram[own, own]) / len(shapes) * np.eye(len(shapes))
    weights = bounded_least_squares(gram[own, own] + ridge, motion.weights @ gram[: len(features), own])

    rest = np.concatenate([motion.weights, -weights], axis=1)  # what is left, over both bases
    parts = decompose(rest, both, gram)
    count = parts.fewest(tolerance) if tolerance > 0 else len(parts.energy)
    amounts, principal = parts.scaled(count)
    view = FaceMotion(
        motion.fps,
        motion.start,
        (*names, *(f"{_PREFIX}_{i:02d}" for i in range(count))),
        np.concatenate([weights, amounts], axis=1).astype(np.float32),
        np.concatenate([shapes, principal]).reshape(-1, VERTEX_COUNT, 3),
    )
    mean_square = float(parts.energy.sum()) / max(len(rest), 1) / VERTEX_COUNT
    return ArkitView(view, mean_square**0.5, parts.farthest(0), parts.farthest(count))


def bounded_least_squares(gram: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Rows w of (T, K) in [0, 1] that minimise w·gram·w / 2 - target·w, for gram (K, K) and target (T, K).

    Coordinate descent on all frames at once (Hildreth 1957): every step is the exact minimum over one weight, so it
    falls to the one minimum there is.
    """
    solved = np.zeros((gram.shape[0], len(target)))
    for first in range(0, len(target), _BLOCK):
        wanted, w = target[first : first + _BLOCK].T, solved[:, first : first + _BLOCK]
        for _ in range(_SWEEPS):
            change = 0.0
            for k, row in enumerate(gram):
                step = ((w[k] + (wanted[k] - row @ w) / row[k]).clip(0.0, 1.0)) - w[k]
                w[k] += step
                change = max(change, float(np.abs(step).max()))
            if change < _CONVERGED:
                break
    return solved.T


@lru_cache(maxsize=1)
def _moving_blendshapes() -> tuple[tuple[str, ...], np.ndarray]:
    """Names and flat deltas (K, 3 V) of the blendshapes that move the skin: the eyes' do not."""
    names, deltas = arkit_basis()
    moving = np.flatnonzero(np.abs(deltas).max(axis=(1, 2)))
    return tuple(names[i] for i in moving), deltas[moving].reshape(len(moving), -1)
