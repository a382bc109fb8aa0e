# SPDX-License-Identifier: GPL-3.0-or-later
"""From jaw, lip gap and lip shape to ARKit weights, through the measured geometry of the blendshapes.

Blendshapes are linear, so the vertical gap between the inner lips is the neutral gap plus a sum of weights times
constants. The constants are measured on the FLAME template with the three inner-lip landmark pairs (13-14, 82-87,
312-317 of MediaPipe); a test measures them again. Given a wished gap, the jaw does its share and the lips do the
exact rest.
"""

from __future__ import annotations

import numpy as np

from ..geometry import NEUTRAL_GAP
from .dynamics import Movement

# mm of lip gap for weight 1
GAP_PER_WEIGHT: dict[str, float] = {
    "jawOpen": 30.63,
    "mouthClose": -37.25,
    "mouthFunnel": 12.37,
    "mouthPucker": 0.77,
    "mouthLowerDownLeft": 3.07,
    "mouthLowerDownRight": 3.07,
    "mouthUpperUpLeft": 3.66,
    "mouthUpperUpRight": 3.66,
    "mouthRollLower": -2.91,
    "mouthRollUpper": -1.29,
    "mouthPressLeft": -1.36,
    "mouthPressRight": -1.36,
    "mouthStretchLeft": -0.28,
    "mouthStretchRight": -0.28,
    "mouthSmileLeft": -0.10,
    "mouthSmileRight": -0.11,
    "mouthDimpleLeft": -0.65,
    "mouthDimpleRight": -0.65,
    "cheekPuffLeft": -0.13,
    "cheekPuffRight": -0.13,
}
NAMES: tuple[str, ...] = tuple(GAP_PER_WEIGHT)

SHUT_GAP = -0.1  # mm: lips touch and press a little; deeper would push one lip through the other
PRESS = 0.12  # mouthPress of shut lips
TUCK_GAP = 2.0  # mm: from the upper lip to a lower lip that lies under the teeth
LOWER_SHARE = 0.65  # of a gap that the jaw leaves open to the lips, what the lower lip does
LIP_REACH = 0.9  # the largest weight of lowerDown and upperUp


def weights_of(move: Movement, lips: float, asymmetry: np.ndarray) -> np.ndarray:
    """ARKit weights (T,K) float32 in 0..1, in the order of ``NAMES``.

    ``lips`` scales shapes other than the gap (rounding, spreading); ``asymmetry`` (4,) is left minus right of
    lowerDown, upperUp, stretch and smile, as a share.
    """
    w = {name: np.zeros_like(move.jaw) for name in NAMES}
    free = 1 - move.shut
    w["mouthPucker"] = np.clip(lips * 0.95 * move.round * (1 - 0.25 * move.tuck), 0, 0.9)
    w["mouthFunnel"] = np.clip(lips * 0.55 * move.funnel * free * (1 - 0.6 * move.tuck), 0, 0.6)
    spread = np.clip(lips * move.spread * (1 - move.round), 0, 1)
    w["mouthRollLower"] = 0.45 * move.tuck + 0.10 * move.shut
    w["mouthRollUpper"] = 0.08 * move.shut
    w["mouthPressLeft"] = w["mouthPressRight"] = PRESS * move.shut
    for side, sign in (("Left", 0.5), ("Right", -0.5)):
        w[f"mouthStretch{side}"] = np.clip(0.16 * spread * (1 + sign * asymmetry[2]), 0, 1)
        w[f"mouthSmile{side}"] = np.clip(0.18 * spread * (1 + sign * asymmetry[3]), 0, 1)
        w[f"mouthDimple{side}"] = 0.06 * spread
        w[f"cheekPuff{side}"] = 0.05 * move.shut * move.speech
    gap = move.gap * free + SHUT_GAP * move.shut
    gap = np.minimum(gap, move.gap * (1 - move.tuck) + np.minimum(move.gap, TUCK_GAP) * move.tuck)
    w["jawOpen"] = np.clip(move.jaw * (1 - 0.35 * move.shut) * (1 - 0.35 * move.tuck) / GAP_PER_WEIGHT["jawOpen"], 0, 1)
    w["mouthUpperUpLeft"] = w["mouthUpperUpRight"] = 0.10 * move.tuck
    rest = gap - NEUTRAL_GAP - sum(GAP_PER_WEIGHT[n] * w[n] for n in NAMES)
    _open_lips(w, np.maximum(rest, 0), asymmetry)
    w["mouthClose"] = np.maximum(-rest, 0) / -GAP_PER_WEIGHT["mouthClose"]
    return np.clip(np.stack([w[n] for n in NAMES], 1), 0, 1).astype(np.float32)


def _open_lips(w: dict[str, np.ndarray], wanted: np.ndarray, asymmetry: np.ndarray) -> None:
    """Lower lip down and upper lip up by ``wanted`` mm together; what they can't reach the jaw does."""
    lower, upper = 2 * GAP_PER_WEIGHT["mouthLowerDownLeft"], 2 * GAP_PER_WEIGHT["mouthUpperUpLeft"]
    down = np.minimum(LOWER_SHARE * wanted / lower, LIP_REACH / (1 + 0.5 * abs(asymmetry[0])))
    up = np.minimum((1 - LOWER_SHARE) * wanted / upper, 0.5)
    w["jawOpen"] = w["jawOpen"] + (wanted - down * lower - up * upper) / GAP_PER_WEIGHT["jawOpen"]
    for side, sign in (("Left", 0.5), ("Right", -0.5)):
        w[f"mouthLowerDown{side}"] = down * (1 + sign * asymmetry[0])
        w[f"mouthUpperUp{side}"] = w[f"mouthUpperUp{side}"] + up * (1 + sign * asymmetry[1])
