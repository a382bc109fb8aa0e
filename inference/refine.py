# SPDX-License-Identifier: GPL-3.0-or-later
"""Turning the sliders after the network has spoken: strength, jaw, lips, smoothing, time, silence.

Sliders scale what shapes do, but a closure is a constraint, not a wish (Edwards et al., JALI, ACM Transactions on
Graphics 35(4), 2016): where the network shut the lips they stay shut, however far the jaw is scaled or the motion
smoothed. How far the lips stand apart is linear in the weights, so mouthClose can do exactly what is missing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from functools import lru_cache

import numpy as np

from .closure import CLOSING_SHAPE, gap_slope
from .curves import gaussian_smooth, smooth_step
from .flame import INNER_LIPS, LIP_GAP, arkit_basis
from .motion import FaceMotion, sample_weights

Amount = float | np.ndarray  # for the whole motion, or one per frame: (T,)

RAMP = 0.1  # seconds in which the face goes to rest before a muted region, and comes back after it
JAW = ("jawOpen", CLOSING_SHAPE)  # mouthClose means nothing but "as far as the jaw is open"
ROUNDING = ("mouthPucker", "mouthFunnel")
UPPER_LIP = ("mouthUpperUpLeft", "mouthUpperUpRight", "mouthRollUpper", "mouthShrugUpper")
LOWER_LIP = ("mouthLowerDownLeft", "mouthLowerDownRight", "mouthRollLower", "mouthShrugLower")

_SHUT_GAP = -0.1e-3  # metres between the inner lips; they are soft
# Share of the opening that the closing shapes take back: none at rest, 1 in a closure.
_CLOSURE = (0.75, 0.95)  # where the lips begin to count as shut, and where they are
_NEARLY = (0.4, 0.9)  # the same for closures that the slider may complete
_FULL_HOLD = 0.25  # strength from which on closures are held entirely; at strength 0 the face is at rest


@dataclass(frozen=True)
class Refinement:
    """What the sliders say; the default is the motion as the network made it.

    strength, jaw, rounding, upper_lip, lower_lip: factors, 1 as spoken, 0 none. lip_closure: 1 as spoken, 2 shuts
    near-closures too, 0 lets the lips part at closures as far as at rest. smoothing: standard deviation of a
    Gaussian, seconds. offset: seconds by which the motion comes later. Each may be an array with one value per frame
    of the motion; an offset that changes makes it longer. mutes: (first, last) seconds on the timeline between which
    the face is at rest.
    """

    strength: Amount = 1.0
    jaw: Amount = 1.0
    lip_closure: Amount = 1.0
    rounding: Amount = 1.0
    upper_lip: Amount = 1.0
    lower_lip: Amount = 1.0
    smoothing: Amount = 0.0
    offset: Amount = 0.0
    mutes: tuple[tuple[float, float], ...] = ()


SHAPING = ("jaw", "lip_closure", "rounding", "upper_lip", "lower_lip")  # need shapes that mean something


def refine(motion: FaceMotion, refinement: Refinement) -> FaceMotion:
    """`motion` as the sliders want it; a neutral `refinement` gives back the same weights, bit for bit.

    Blendshapes known to ARKit stay in 0…1. A vertex motion knows no jaw and no lips: of it only strength, smoothing,
    offset and mutes are honoured. Raises ValueError for an amount that is neither a number nor one per frame.
    """
    amounts = _amounts(refinement, len(motion.weights))
    weights = motion.weights
    if motion.kind == "blendshapes":
        weights = _shaped(motion, amounts)
    elif not _is(amounts["strength"], 1.0):
        weights = weights * np.float32(amounts["strength"])
    if not _is(amounts["smoothing"], 0.0):
        weights = _smoothed(weights, amounts["smoothing"] * motion.fps)
    if motion.kind == "blendshapes" and weights is not motion.weights:
        weights = _hold_closures(motion, weights, amounts)
    moved = _moved(replace(motion, weights=weights), amounts["offset"])
    return _muted(moved, refinement.mutes)


def _amounts(refinement: Refinement, count: int) -> dict[str, np.ndarray]:
    """Every amount as a column, (1, 1) or (T, 1), float64."""
    amounts = {}
    for field in fields(refinement):
        if field.name != "mutes":
            amount = np.atleast_1d(np.asarray(getattr(refinement, field.name), np.float64))
            if amount.shape not in ((1,), (count,)) or not np.isfinite(amount).all():
                raise ValueError(f"{field.name} must be a number or {count} of them, not {amount.shape}")
            amounts[field.name] = amount[:, None]
    return amounts


def _is(amount: np.ndarray, value: float) -> bool:
    return bool((amount == value).all())


def _shaped(motion: FaceMotion, amounts: dict[str, np.ndarray]) -> np.ndarray:
    """Weights with each group of shapes scaled; the same array where nothing is."""
    if all(_is(amounts[name], 1.0) for name in ("strength", *SHAPING)):
        return motion.weights
    weights = motion.weights * amounts["strength"].astype(np.float32)
    for name, shapes in (
        ("jaw", JAW),
        ("rounding", ROUNDING),
        ("upper_lip", UPPER_LIP),
        ("lower_lip", LOWER_LIP),
    ):
        columns = [k for k, shape in enumerate(motion.names) if shape in shapes]
        if columns and not _is(amounts[name], 1.0):
            weights[:, columns] *= amounts[name].astype(np.float32)
    return _clipped(motion.names, weights)


def _hold_closures(motion: FaceMotion, weights: np.ndarray, amounts: dict[str, np.ndarray]) -> np.ndarray:
    """`weights` with lips as far apart as in `motion` wherever they were shut there, and as `lip_closure` says."""
    slope = _gap_slope(motion.names)
    if CLOSING_SHAPE not in motion.names:
        return weights
    closing = motion.names.index(CLOSING_SHAPE)
    moves = motion.weights * slope
    opening = LIP_GAP + moves.clip(min=0.0).sum(axis=1)
    spoken = opening + moves.clip(max=0.0).sum(axis=1)
    share = 1.0 - spoken / opening
    tight, loose = (np.clip(sign * (amounts["lip_closure"][:, 0] - 1.0), 0.0, 1.0) for sign in (1, -1))
    closed, nearly = smooth_step(share, *_CLOSURE), smooth_step(share, *_NEARLY)
    part = closed + tight * (nearly - closed)
    wanted = spoken + loose * (LIP_GAP - spoken).clip(min=0.0) - tight * (spoken - _SHUT_GAP).clip(min=0.0)
    part = part * (amounts["strength"][:, 0] / _FULL_HOLD).clip(0.0, 1.0)
    gap = LIP_GAP + weights @ slope
    wanted = gap + part * (wanted - gap)
    wanted = np.maximum(wanted, np.minimum(spoken, _SHUT_GAP))  # lips do not pass through each other
    held = weights.copy()
    held[:, closing] = (held[:, closing] + (wanted - gap) / slope[closing]).clip(0.0, 1.0)
    return held


def _smoothed(weights: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """Gaussian low-pass of `weights` (T, K) by `sigma` frames, (1, 1) or (T, 1)."""
    sigma = sigma.clip(min=0.0)
    if np.ptp(sigma) < 1e-6:  # as good as one width; between two that are closer yet no other numbers lie
        return gaussian_smooth(weights, float(sigma[0, 0]))
    # Between two widths the result is mixed: six filters instead of one per frame.
    widths = np.linspace(sigma.min(), sigma.max(), 6)
    step = widths[1] - widths[0]
    result = np.zeros_like(weights)
    for i, width in enumerate(widths):
        near = (1.0 - np.abs(sigma - widths[i]) / step).clip(min=0.0).astype(np.float32)
        if near.any():
            result += near * gaussian_smooth(weights, float(width))
    return result


def _moved(motion: FaceMotion, offset: np.ndarray) -> FaceMotion:
    """`motion` later by `offset` seconds: by its start, and where the offset changes by sampling it anew.

    It begins as early and ends as late as the offset takes any of it: nothing of the speech is cut off.
    """
    wanted = offset[:, 0]
    least = float(wanted.min())
    later = replace(motion, start=motion.start + least) if least else motion
    if np.ptp(wanted) == 0:
        return later
    count = len(wanted) + math.ceil((wanted[-1] - least) * motion.fps - 1e-6)
    shown = later.start + np.arange(count) / motion.fps
    return replace(later, weights=sample_weights(motion, shown - np.interp(shown, motion.times, wanted)))


def _muted(motion: FaceMotion, mutes: tuple[tuple[float, float], ...]) -> FaceMotion:
    """`motion` at rest within `mutes`, with a cosine ramp of `RAMP` seconds on either side."""
    if not mutes:
        return motion
    heard = np.ones(len(motion.weights))
    for ends in mutes:
        # One frame wider: between this frame and the next a scene's frame may lie that is muted.
        first, last = min(ends) - 1 / motion.fps, max(ends) + 1 / motion.fps
        outside = np.maximum(first - motion.times, motion.times - last).clip(0.0, RAMP) / RAMP
        heard = np.minimum(heard, 0.5 - 0.5 * np.cos(np.pi * outside))
    if (heard == 1.0).all():
        return motion
    return replace(motion, weights=motion.weights * heard[:, None].astype(np.float32))


def _clipped(names: tuple[str, ...], weights: np.ndarray) -> np.ndarray:
    known = np.isin(names, arkit_basis()[0])
    return np.where(known, weights.clip(0.0, 1.0), weights).astype(np.float32)


@lru_cache(maxsize=8)
def _gap_slope(names: tuple[str, ...]) -> np.ndarray:
    """Metres by which a unit of each shape parts the inner lips, (K,); 0 for shapes that ARKit does not know."""
    known, deltas = arkit_basis()
    per_shape = gap_slope(deltas, INNER_LIPS)
    return np.array([per_shape[known.index(name)] if name in known else 0.0 for name in names])
