# SPDX-License-Identifier: GPL-3.0-or-later
"""Few Bézier keys that stay within a tolerance of sampled curves, all curves of a face at once.

Each interval between two keys is a cubic Hermite curve whose end slopes are fitted by least squares to the samples
inside it (Schneider, "An Algorithm for Automatically Fitting Digitized Curves", Graphics Gems 1990, with handles at a
third of the interval so that time needs no fitting). Where the error is too large a key is put on the worst sample;
afterwards keys that can be spared go again, and slopes that can agree across a key are made to.
"""

from __future__ import annotations

import numpy as np

_PULL = 1e-3  # weight of the central difference against the samples when a slope is fitted
_PIECE = 12  # frames between the keys from which the search starts
_NONE = 1e-9  # frames of an interval that isn't there, before the first key and after the last
_SAFETY = 0.98  # share of the tolerance that is used: Blender evaluates in single precision


def reduce_to_beziers(values: np.ndarray, tolerance: float, bounded: bool) -> list[tuple[np.ndarray, np.ndarray]]:
    """Keys for the columns of `values` (T, K), sampled once a frame.

    Returns K pairs: indices of the frames that keep a key, int (n,), first and last among them; and slopes on the left
    and on the right of each key, float32 (n, 2), value per frame. On every frame the error is at most `tolerance`.
    bounded: values lie in 0…1, and so does the curve everywhere between the keys.
    """
    count, curves = values.shape
    if count < 3:
        return [(np.arange(count), _straight(values[:, k])) for k in range(curves)]
    fit = _Fit(values, tolerance * _SAFETY, bounded)
    starts, ends = fit.insert_keys()
    starts, ends = fit.spare_keys(starts, ends)
    keys, slopes = fit.agree(starts, ends)
    curve = keys // count
    cuts = np.searchsorted(curve, np.arange(1, curves))
    return list(zip(np.split(keys % count, cuts), np.split(slopes.astype(np.float32), cuts), strict=True))


def _straight(values: np.ndarray) -> np.ndarray:
    """Slopes of one key or two."""
    slopes = np.zeros((len(values), 2), np.float32)
    slopes[:-1, 1] = slopes[1:, 0] = np.diff(values)
    return slopes


_Inside = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]  # see `_inside`


class _Fit:
    """Samples of all curves one after another, float64 (K · T,); intervals are pairs of arrays (starts, ends)."""

    def __init__(self, values: np.ndarray, tolerance: float, bounded: bool) -> None:
        self.count, self.curves = values.shape
        self.samples = np.ascontiguousarray(values.T, np.float64).ravel()
        self.tolerance, self.bounded = tolerance, bounded
        slopes = np.gradient(values.T.astype(np.float64), axis=1)
        slopes[:, [0, -1]] = 0.0
        self.central = slopes.ravel()

    def insert_keys(self) -> tuple[np.ndarray, np.ndarray]:
        """Split every curve, where its error is largest, until all intervals are within the tolerance.

        Curves are cut into short pieces to begin with, which is quicker; `spare_keys` joins them again.
        """
        last = self.count - 1
        cuts = np.append(np.arange(0, max(1, last - _PIECE // 2), _PIECE), last)
        first = np.arange(self.curves)[:, None] * self.count
        starts, ends = (first + cuts[:-1]).ravel(), (first + cuts[1:]).ravel()
        done: list[np.ndarray] = []
        while len(starts):
            _, _, error, worst = self.fitted(starts, ends)
            good = error <= self.tolerance
            done.append(np.stack([starts[good], ends[good]]))
            starts, ends, worst = starts[~good], ends[~good], worst[~good]
            starts, ends = np.concatenate([starts, worst]), np.concatenate([worst, ends])
        starts, ends = np.concatenate(done, axis=1)
        order = np.argsort(starts)
        return starts[order], ends[order]

    def spare_keys(self, starts: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Join neighbours while one curve does for both; of joins that overlap the one with the smaller error."""
        errors = np.full(len(starts), np.nan)  # of the join with the next interval; nan: not known
        errors[:-1][ends[:-1] != starts[1:]] = np.inf
        errors[-1] = np.inf
        while True:
            unknown = np.flatnonzero(np.isnan(errors))
            if not len(unknown):
                return starts, ends
            errors[unknown] = self.fitted(starts[unknown], ends[unknown + 1])[2]
            errors[errors > self.tolerance] = np.inf
            ranked = errors + 1e-9 * (np.arange(len(errors)) % 2)  # where nothing moves all errors are alike
            padded = np.concatenate([[np.inf], ranked, [np.inf]])
            chosen = np.flatnonzero((ranked < padded[2:]) & (ranked <= padded[:-2]) & np.isfinite(errors))
            for side in (chosen - 1, chosen + 1):
                near = side[(side >= 0) & (side < len(errors))]
                errors[near[np.isfinite(errors[near])]] = np.nan
            errors[chosen] = errors[chosen + 1]
            starts, ends, errors = np.delete(starts, chosen + 1), np.delete(ends, chosen), np.delete(errors, chosen + 1)

    def agree(self, starts: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Keys, int (n,), and slopes (n, 2): one slope for both sides of a key wherever the tolerance allows.

        The slopes that agree are fitted together with their neighbours' (Gauss-Seidel over keys of odd and even place);
        an interval that is then off sets one of its keys free, the one whose own slopes differ more.
        """
        keys = np.union1d(starts, ends)
        before, after = np.searchsorted(keys, starts), np.searchsorted(keys, ends)
        gaps = (ends - starts).astype(float)
        inside = _inside(starts, ends - starts)
        own, lengths = np.zeros((len(keys), 2)), np.full((len(keys), 2), _NONE)
        own[before, 1], own[after, 0], _, _ = self.fitted(starts, ends)
        lengths[before, 1], lengths[after, 0] = gaps, gaps
        kink = np.abs(own[:, 1] - own[:, 0]) * lengths.sum(axis=1)
        free = lengths.min(axis=1) == _NONE
        weight, pull, coupling = np.zeros(len(keys)), np.zeros(len(keys)), np.zeros(len(keys))
        a, b, c, d, e = self._normal_equations(starts, ends, inside)
        weight[before] += a * gaps * gaps
        weight[after] += c * gaps * gaps
        pull[before] += d * gaps
        pull[after] += e * gaps
        coupling[before] = b * gaps * gaps  # with the next key
        lowest, highest = self._within_range(keys, lengths)
        slopes = np.where(free[:, None], own, own.mean(axis=1, keepdims=True))
        while True:
            shared = np.flatnonzero(~free)
            for sweep in range(6):
                turn = shared[shared % 2 == sweep % 2]
                others = coupling[turn] * slopes[turn + 1, 0] + coupling[turn - 1] * slopes[turn - 1, 1]
                common = np.clip((pull[turn] - others) / weight[turn], lowest[turn], highest[turn])
                slopes[turn] = common[:, None]
            error, _ = self._errors(starts, ends, slopes[before, 1] * gaps, slopes[after, 0] * gaps, inside)
            bad = (error > self.tolerance) & ~(free[before] & free[after])
            if not bad.any():
                return keys, slopes
            first, second = before[bad], after[bad]
            free[np.where(~free[first] & (free[second] | (kink[first] >= kink[second])), first, second)] = True
            slopes[free] = own[free]

    def fitted(self, starts: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Slopes at both ends, largest error and the sample that has it, each (m,), of the best curve per interval."""
        gaps = ends - starts
        inside = _inside(starts, gaps)
        a, b, c, d, e = self._normal_equations(starts, ends, inside)
        determinant = a * c - b * b
        m0, m1 = (c * d - b * e) / determinant, (a * e - b * d) / determinant
        if self.bounded:  # a Bézier curve lies within the hull of its handles
            m0 = np.clip(m0, -3 * self.samples[starts], 3 - 3 * self.samples[starts])
            m1 = np.clip(m1, 3 * self.samples[ends] - 3, 3 * self.samples[ends])
        error, worst = self._errors(starts, ends, m0, m1, inside)
        return m0 / gaps, m1 / gaps, error, worst

    def _normal_equations(self, starts: np.ndarray, ends: np.ndarray, inside: _Inside) -> tuple[np.ndarray, ...]:
        """a, b, c, d, e of a·m₀ + b·m₁ = d, b·m₀ + c·m₁ = e for the interval's end slopes m (value per interval)."""
        gaps = ends - starts
        index, u, segment, first = inside
        h10, h11 = u * (1 - u) ** 2, -u * u * (1 - u)
        rest = self.samples[index] - self._line(starts, ends, u, segment)
        filled = gaps > 1

        def total(x: np.ndarray) -> np.ndarray:
            sums = np.zeros(len(starts))
            if len(x):
                sums[filled] = np.add.reduceat(x, first[filled])
            return sums

        return (
            total(h10 * h10) + _PULL,
            total(h10 * h11),
            total(h11 * h11) + _PULL,
            total(h10 * rest) + _PULL * self.central[starts] * gaps,
            total(h11 * rest) + _PULL * self.central[ends] * gaps,
        )

    def _errors(
        self, starts: np.ndarray, ends: np.ndarray, m0: np.ndarray, m1: np.ndarray, inside: _Inside
    ) -> tuple[np.ndarray, np.ndarray]:
        """Largest error of each interval and its sample, for slopes m0 and m1 per interval."""
        gaps = ends - starts
        index, u, segment, first = inside
        curve = self._line(starts, ends, u, segment) + u * (1 - u) * (m0[segment] * (1 - u) - m1[segment] * u)
        error = np.abs(curve - self.samples[index])
        largest, worst = np.zeros(len(starts)), starts.copy()
        filled = gaps > 1
        if len(error):
            largest[filled] = np.maximum.reduceat(error, first[filled])
            hits = np.flatnonzero(error == largest[segment])[::-1]
            worst[segment[hits]] = index[hits]
        return largest, worst

    def _line(self, starts: np.ndarray, ends: np.ndarray, u: np.ndarray, segment: np.ndarray) -> np.ndarray:
        """What the interval's end values contribute."""
        blend = u * u * (3 - 2 * u)
        return (1 - blend) * self.samples[starts][segment] + blend * self.samples[ends][segment]

    def _within_range(self, keys: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Least and largest slope of `keys` with which both handles stay within 0…1, each (n,)."""
        if not self.bounded:
            return np.full(len(keys), -np.inf), np.full(len(keys), np.inf)
        below, above = 3 * self.samples[keys], 3 - 3 * self.samples[keys]
        lowest = np.maximum(-below / lengths[:, 1], -above / lengths[:, 0])
        highest = np.minimum(above / lengths[:, 1], below / lengths[:, 0])
        return lowest, highest


def _inside(starts: np.ndarray, gaps: np.ndarray) -> _Inside:
    """Samples strictly inside the intervals: index, place 0…1 in the interval, interval; and each interval's first."""
    inside = gaps - 1
    first = np.concatenate([[0], np.cumsum(inside)])
    segment = np.repeat(np.arange(len(starts)), inside)
    step = np.arange(first[-1]) - first[segment] + 1
    return starts[segment] + step, step / gaps[segment], segment, first[:-1]
