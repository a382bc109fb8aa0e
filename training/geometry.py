# SPDX-License-Identifier: GPL-3.0-or-later
"""Lip geometry as linear functions of blendshape weights, in millimetres on the FLAME-size head.

Offsets are weights · basis, so the change of any distance along a fixed axis is a linear function of the weights, and
the squared distance summed over lip vertices a quadratic one. No vertex has to be formed in training.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from inference import arkit_basis
from inference.flame import INNER_LIPS, LIP_GAP

CORNERS = (2819, 1702)  # FLAME vertices next to MediaPipe's corners of the mouth, 61 and 291
NEUTRAL_GAP = 1000 * LIP_GAP  # mm
EYES = 89.06  # mm between the outer eye corners of the FLAME template: the unit of the development clips' curves
MEASURES = ("aperture", "width", "protrusion_upper", "protrusion_lower", "jaw")


@dataclass(frozen=True)
class LipGeometry:
    """names: K blendshapes. measures: (K, 5) mm per unit weight, in the order of MEASURES.

    lips: FLAME ids of the lip vertices (L,). lip_factor: (K, K); |weights · lip_factor|² is the mean squared
    displacement of the lip vertices in mm². face_factor: the same over all vertices that any of the shapes moves.
    """

    names: tuple[str, ...]
    measures: np.ndarray
    lips: np.ndarray
    lip_factor: np.ndarray
    face_factor: np.ndarray


def _factor(deltas: np.ndarray) -> np.ndarray:
    """Square root of the Gram matrix of (K, V, 3) offsets, divided by V: (K, K)."""
    flat = deltas.reshape(len(deltas), -1).astype(np.float64)
    values, vectors = np.linalg.eigh(flat @ flat.T / deltas.shape[1])
    return (vectors * np.sqrt(np.maximum(values, 0))).astype(np.float32)


def lip_vertices(names: tuple[str, ...], deltas: np.ndarray) -> np.ndarray:
    """The vertices that rolling the lips moves most: FLAME ids, ascending.

    Rolling moves the red of the lips and little else, so no licensed vertex mask is needed.
    """
    roll = sum(np.linalg.norm(deltas[names.index(name)], axis=1) for name in ("mouthRollLower", "mouthRollUpper"))
    return np.flatnonzero(roll > 0.35 * np.max(roll))


def lip_geometry(names: tuple[str, ...]) -> LipGeometry:
    """Geometry of the blendshapes `names`. Raises ValueError when one is not in the ARKit basis."""
    all_names, all_deltas = arkit_basis()
    all_names = tuple(all_names)
    missing = set(names) - set(all_names)
    if missing:
        raise ValueError(f"The ARKit basis has no {', '.join(sorted(missing))}; check training.targets.NAMES.")
    deltas = np.stack([all_deltas[all_names.index(name)] for name in names]) * 1000.0
    upper = [pair[0] for pair in INNER_LIPS]
    lower = [pair[1] for pair in INNER_LIPS]
    opening, closing = (np.abs(all_deltas[all_names.index(name)][:, 1]) for name in ("jawOpen", "mouthClose"))
    chin = int(np.argmax(opening - 2 * closing))  # moves with the jaw but not with the lips
    measures = np.stack(
        [
            (deltas[:, upper, 1] - deltas[:, lower, 1]).mean(1),
            deltas[:, CORNERS[1], 0] - deltas[:, CORNERS[0], 0],
            deltas[:, upper, 2].mean(1),
            deltas[:, lower, 2].mean(1),
            -deltas[:, chin, 1],
        ],
        1,
    )
    lips = lip_vertices(all_names, all_deltas)
    moved = np.flatnonzero(np.abs(deltas).max((0, 2)) > 0.05)
    return LipGeometry(
        tuple(names), measures.astype(np.float32), lips, _factor(deltas[:, lips]), _factor(deltas[:, moved])
    )
