# SPDX-License-Identifier: GPL-3.0-or-later
"""Correctives for a blink: the ARKit deltas on FLAME stop short of closing these eyes, and cut through the balls."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from inference.life import BLINK_SHAPES

from .eyes import eyeballs
from .flame import Flame
from .part import Part

REACH = 1.2  # how much further a lid travels than the delta says: found by eye at a full blink
CLEARANCE = 0.0004  # metres between a closed lid and the ball


def lid_correctives(flame: Flame, parts: list[Part]) -> dict[str, NDArray[np.float64]]:
    """Offsets (N,3) in metres to add to the blink keys, over the vertices of all parts."""
    result = {}
    for name in BLINK_SHAPES:
        offsets = []
        for part in parts:
            plain = part.weights @ flame.deltas[name]
            closed = part.points + REACH * plain
            if part.material == "skin":
                closed = _outside_balls(flame, closed, np.linalg.norm(plain, axis=1) > 0.0003)
            offsets.append(closed - part.points - plain)
        result[name] = np.concatenate(offsets)
    return result


def _outside_balls(flame: Flame, points: NDArray[np.float64], moving: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Push those of `points` (N,3) that move and lie in the front of a ball out to its surface."""
    points = points.copy()
    for centre, radius in eyeballs(flame):
        away = points - centre
        distance = np.linalg.norm(away, axis=1)
        share = np.clip((distance / radius - 0.72) / 0.2, 0, 1)  # the lid's inner side stays inside
        inside = moving & (away[:, 2] > 0.3 * radius) & (distance < radius + CLEARANCE)
        pushed = centre + away * ((radius + CLEARANCE) / np.maximum(distance, 1e-6))[:, None]
        points[inside] += (share[:, None] * (pushed - points))[inside]
    return points
