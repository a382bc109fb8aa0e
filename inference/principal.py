# SPDX-License-Identifier: GPL-3.0-or-later
"""Motion over its principal shapes: the fewest that keep every vertex of every frame within a tolerance.

Principal component analysis about the neutral face (shape keys are differences from it). A motion is linear in a
small basis (51 blendshapes, or FaceFormer's 64 features), so it happens between small Gram matrices; vertices are
formed only to measure distances, block by block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from .motion import FaceMotion

_RANK = 1e-14  # of the largest eigenvalue: what is below is rounding
_BLOCK = 256  # frames whose vertices are formed at once: 15 MB of FLAME offsets


@dataclass(frozen=True)
class PrincipalView:
    """A motion over its principal shapes.

    motion: shapes `principal_00`, …, those that do most first, weights within ±1, kind "vertices".
    rms, largest: distance in metres of a vertex to where the whole motion puts it, over all frames.
    """

    motion: FaceMotion
    rms: float
    largest: float


@dataclass(frozen=True)
class Decomposition:
    """Movement `weights @ basis` = `amounts @ shapes`, largest share first.

    amounts: (T, R). shapes: (R, 3 V), metres, orthonormal. energy: (R,), sum over the frames of amounts².
    """

    amounts: np.ndarray
    shapes: np.ndarray
    energy: np.ndarray

    def farthest(self, count: int, enough: float = np.inf, tick: Callable[[], None] | None = None) -> float:
        """Largest distance (metres) of a vertex when only the first `count` shapes are kept.

        Stops at the first frames that are farther off than `enough`. `tick` is called from time to time and may raise.
        """
        amounts = self.amounts[:, count:].astype(np.float32)
        shapes = self.shapes[count:].astype(np.float32)
        farthest = 0.0
        for first in range(0, len(amounts) if len(shapes) else 0, _BLOCK):
            if tick:
                tick()
            off = (amounts[first : first + _BLOCK] @ shapes).reshape(-1, 3)
            farthest = max(farthest, float(np.einsum("ij,ij->i", off, off).max()) ** 0.5)
            if farthest > enough:
                break
        return farthest

    def fewest(self, tolerance: float, tick: Callable[[], None] | None = None) -> int:
        """How many leading shapes keep every vertex within `tolerance` metres: one fewer would not (bisection)."""
        low, high = 0, len(self.energy)
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if self.farthest(middle, tolerance, tick) <= tolerance else (middle + 1, high)
        return high

    def scaled(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Weights (T, count) within ±1 and shapes (count, 3 V), float32.

        Each shape is scaled and signed such that its weight is 1 in the frame where it does most.
        """
        amounts = self.amounts[:, :count]
        peak = amounts[np.abs(amounts).argmax(axis=0), np.arange(count)]
        peak = np.where(np.abs(peak) < 1e-12, 1e-12, peak)
        return (amounts / peak).astype(np.float32), (self.shapes[:count] * peak[:, None]).astype(np.float32)


def decompose(weights: np.ndarray, basis: np.ndarray, gram: np.ndarray | None = None) -> Decomposition:
    """Principal shapes of the movement `weights` (T, K) @ `basis` (K, 3 V); `gram` is basis @ basis.T if known."""
    basis = np.asarray(basis, np.float64)
    gram = basis @ basis.T if gram is None else gram
    moment = sum((block.T @ block for block in _blocks(weights)), np.zeros_like(gram))
    values, vectors = np.linalg.eigh(gram)
    root = vectors * np.sqrt(values.clip(0.0))
    energy, axes = np.linalg.eigh(root.T @ moment @ root)
    order = np.argsort(energy)[::-1]
    order = order[: max(1, np.count_nonzero(energy > _RANK * energy.max()))]  # one where nothing moves at all
    inverse = vectors / np.sqrt(values.clip(max(_RANK * values[-1], 1e-300)))
    shapes = (inverse @ axes[:, order]).T @ basis
    amounts = np.concatenate([block @ (root @ axes[:, order]) for block in _blocks(weights)])
    return Decomposition(amounts, shapes, energy[order].clip(0.0))


def principal_view(motion: FaceMotion, tolerance: float, tick: Callable[[], None] | None = None) -> PrincipalView:
    """`motion`, of either kind, over the fewest principal shapes that keep every vertex within `tolerance` metres.

    At least one, even where nothing moves.
    Between two frames the error is no larger either, since both are interpolated linearly. `tick` is called from time
    to time and may raise.
    """
    if not tolerance > 0:
        raise ValueError(f"tolerance must be positive, not {tolerance}")
    parts = decompose(motion.weights, motion.basis.reshape(len(motion.names), -1))
    count = max(1, parts.fewest(tolerance, tick))
    weights, shapes = parts.scaled(count)
    view = FaceMotion(
        motion.fps,
        motion.start,
        tuple(f"principal_{i:02d}" for i in range(count)),
        weights,
        shapes.reshape(count, *motion.basis.shape[1:]),
        "vertices",
    )
    points = max(len(motion.weights), 1) * motion.basis.shape[1]
    rms = float(np.sqrt(parts.energy[count:].sum() / points))
    return PrincipalView(view, rms, parts.farthest(count, tick=tick))


def _blocks(rows: np.ndarray) -> Iterator[np.ndarray]:
    return (rows[first : first + 2048].astype(np.float64) for first in range(0, len(rows), 2048))
