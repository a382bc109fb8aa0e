# SPDX-License-Identifier: GPL-3.0-or-later
"""Lips that shut: where the network says that the lips press together, they touch.

A network that minimises squared error answers a doubtful closure with half of one, and a mouth 3 mm open on a p is
an error that everybody sees. But it also drives shapes that occur in closures alone (mouthPress), so these tell how
sure it is. Where they pass a threshold, mouthClose does what is missing; a closure is a constraint, not a wish
(Edwards et al., JALI, ACM Transactions on Graphics 35(4), 2016, on bilabials). They come to it and leave it no faster
than lips can. In doubt the network also leaves lips too far apart that come near without meeting, as on w, oo and f:
narrow gaps are made narrower, so that mouths are nearly shut as often as people's are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from .curves import smooth_step

CLOSING_SHAPE = "mouthClose"
FASTEST = 0.5  # m/s between the lips; development clips reach .27 on GRID and .53 in the address


@dataclass(frozen=True)
class Closure:
    """How a package's closures are made firm.

    signal: blendshapes that occur in closures alone. begins, certain: mean weight of `signal` from which on the lips
    begin to be shut, and at which they are. pairs: (upper, lower) vertices of the inner lips. neutral, shut: vertical
    gap between them on the neutral face, and in a closure (metres; a little below zero, since lips are soft).
    narrow: share that is taken off the gaps next above the first of `between` (metres: lips at rest), less and less up
    to the second, where nothing is. spared: styles from whose gaps nothing is taken, since mumbling lips are narrow.
    """

    signal: tuple[str, ...]
    begins: float
    certain: float
    pairs: tuple[tuple[int, int], ...]
    neutral: float
    shut: float
    narrow: float = 0.0
    between: tuple[float, float] = (0.0, 0.1)
    spared: tuple[str, ...] = ()

    def in_style(self, blend: Mapping[str, float]) -> Closure:
        """For speech in `blend`, weights of styles that sum to 1."""
        return replace(self, narrow=self.narrow * (1.0 - sum(blend.get(name, 0.0) for name in self.spared)))

    def gap(self, weights: np.ndarray, basis: np.ndarray) -> np.ndarray:
        """Vertical gap (T,) between the inner lips in metres, of weights (T, K) over `basis` (K, V, 3), +Y up."""
        gap: np.ndarray = self.neutral + weights @ gap_slope(basis, self.pairs)
        return gap

    def narrowed(self, gap: np.ndarray) -> np.ndarray:
        """`gap` (T,) in metres without a part of what is between rest and wide; smooth, and narrower stays narrower."""
        rest, wide = self.between
        above = np.clip(gap - rest, 0.0, wide - rest)
        less: np.ndarray = gap - self.narrow * above * (1.0 - above / (wide - rest)) ** 2
        return less

    def firm(self, weights: np.ndarray, names: tuple[str, ...], basis: np.ndarray, fps: float) -> np.ndarray:
        """Weights (T, K) at `fps` Hz with closures that close, and gaps `narrowed`; `basis` (K, V, 3): m, +Y up."""
        slope = gap_slope(basis, self.pairs)
        closing = names.index(CLOSING_SHAPE)
        if slope[closing] > -1e-3:  # of pairs that are no lips
            return weights
        sure = weights[:, [names.index(name) for name in self.signal]].mean(axis=1)
        part = smooth_step(sure, self.begins, self.certain)
        gap = self.neutral + weights @ slope
        near = self.narrowed(gap)
        wanted = reachable(near + part * np.minimum(self.shut - near, 0.0), FASTEST / fps)
        firmed = weights.copy()
        firmed[:, closing] += (wanted - gap) / slope[closing]
        return firmed.clip(0.0, 1.0)


def gap_slope(basis: np.ndarray, pairs: Sequence[tuple[int, int]]) -> np.ndarray:
    """By how much a unit of each shape of `basis` (K, V, 3), +Y up, parts the (upper, lower) vertices `pairs`: (K,)."""
    upper, lower = np.array(pairs).T
    slope: np.ndarray = (basis[:, upper, 1] - basis[:, lower, 1]).mean(axis=1, dtype=np.float64)
    return slope


def reachable(gap: np.ndarray, step: float) -> np.ndarray:
    """The widest `gap` (T,) that is nowhere wider than that and changes by `step` a frame at most."""
    ramp = step * np.arange(len(gap))
    after = np.minimum.accumulate(gap - ramp) + ramp
    found: np.ndarray = np.minimum.accumulate((after + ramp)[::-1])[::-1] - ramp
    return found
