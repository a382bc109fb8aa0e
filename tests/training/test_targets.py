# SPDX-License-Identifier: GPL-3.0-or-later
"""Targets: whatever is said, lips obey. The gap is measured on the blendshapes themselves, not taken from the
renderer.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference import arkit_basis
from training.targets import NAMES, STYLES, render
from training.targets.face import GAP_PER_WEIGHT, NEUTRAL_GAP
from training.targets.phonetics import DIPHTHONGS, TARGETS
from training.targets.render import DYNAMICS

# MediaPipe's inner-lip pairs 13/14, 82/87, 312/317 on FLAME: (vertex, barycentric weight), upper and lower
INNER_LIPS = (
    (((3531, 0.73114), (3533, 0.26886)), ((3504, 0.9709), (3506, 0.0291))),
    (((2865, 0.00667), (2787, 0.0524), (2786, 0.94093)), ((2938, 0.78908), (2928, 0.07378), (2907, 0.13714))),
    (((1750, 0.00667), (1669, 0.94093), (1670, 0.0524)), ((1826, 0.07378), (1849, 0.78908), (1804, 0.13714))),
)
SOUNDS = sorted((set(TARGETS) | set(DIPHTHONGS)) - {"PREP", "SIL"})


def gap_of_basis() -> np.ndarray:
    """Millimetres of lip gap per unit of each weight in NAMES, measured on the basis."""
    names, deltas = arkit_basis()
    height = 1000 * deltas[[names.index(n) for n in NAMES]][:, :, 1].astype(float)
    pairs = [[sum(w * height[:, v] for v, w in side) for side in pair] for pair in INNER_LIPS]
    return np.mean([upper - lower for upper, lower in pairs], axis=0)


PER_WEIGHT = gap_of_basis()


def gap(weights: np.ndarray) -> np.ndarray:
    """Lip gap (T,) in mm of the mesh that shows ``weights`` (T,K)."""
    return NEUTRAL_GAP + weights @ PER_WEIGHT


@st.composite
def speech(draw: st.DrawFn) -> list[tuple[float, float, str]]:
    """Silence, words with pauses between them, silence."""
    phones, now = [(0.0, 0.6, "SIL")], 0.6
    for _ in range(draw(st.integers(1, 12))):
        pause = draw(st.sampled_from([0.0, 0.0, 0.0, 0.1, 0.7]))
        for name, length in ((draw(st.sampled_from(SOUNDS)), draw(st.floats(0.04, 0.3))), ("SIL", pause)):
            if length and not (name == "SIL" == phones[-1][2]):
                phones.append((now, now + length, name))
                now += length
    return [*phones, (now, now + 0.8, "SIL")]


def test_gap_constants_are_those_of_the_blendshapes():
    np.testing.assert_allclose(list(GAP_PER_WEIGHT.values()), PER_WEIGHT, atol=0.02)


@given(speech(), st.sampled_from([30.0, 50.0, 60.0]), st.sampled_from(sorted(STYLES)), st.integers(0, 5))
def test_weights_are_weights_and_bilabials_close(phones, fps, style, seed):
    weights = render(phones, fps, style, seed)
    assert weights.shape == (int(np.floor(phones[-1][1] * fps + 1e-6)) + 1, len(NAMES))
    assert weights.dtype == np.float32
    assert weights.min() >= 0
    assert weights.max() <= 1
    opening, times = gap(weights), np.arange(len(weights)) / fps
    assert opening.min() > -1.0, "lips go through each other"
    for start, end, name in phones:
        if name in ("P", "B", "M"):  # lips lead the sound, and a frame may fall just beside the closure
            inside = (times >= start - DYNAMICS.lead - 1 / fps) & (times <= end)
            assert opening[inside].min() < 0.5, (name, start)


@given(speech(), st.integers(0, 5))
def test_rates_agree_by_time(phones, seed):
    fast, slow = render(phones, 100.0, seed=seed), render(phones, 25.0, seed=seed)
    np.testing.assert_allclose(fast[::4][: len(slow)], slow, atol=1e-5)


@pytest.mark.parametrize("style", sorted(STYLES))
def test_silence_rests(style):
    weights = render([(0.0, 3.0, "SIL")], 50.0, style)
    assert np.ptp(weights, axis=0).max() < 1e-3
    assert 0.0 <= gap(weights).max() < 1.0


def test_the_mouth_rests_again_after_speech():
    phones = [(0.0, 1.0, "SIL"), (1.0, 1.3, "AA"), (1.3, 3.5, "SIL")]
    opening = gap(render(phones, 50.0))
    assert opening[:20].max() < 1.5
    assert opening[-50:].max() < 1.5
    assert opening.max() > 10.0


@pytest.mark.parametrize(("open_", "narrow"), [("AA", "IY"), ("AE", "UW"), ("EH", "F"), ("IY", "W"), ("AA", "S")])
def test_lips_open_in_the_order_of_phonetics(open_, narrow):
    def middle(name: str) -> float:
        return float(gap(render([(0.0, 0.5, "AH"), (0.5, 0.8, name), (0.8, 1.3, "AH")], 100.0))[65 - 8])

    assert middle(open_) > middle(narrow) + 2.0


def test_rounding_begins_before_the_sound_and_lips_touch_teeth():
    pucker, roll = NAMES.index("mouthPucker"), NAMES.index("mouthRollLower")
    phones = [(0.0, 0.4, "SIL"), (0.4, 0.6, "S"), (0.6, 0.7, "T"), (0.7, 1.0, "UW"), (1.0, 1.5, "SIL")]
    early = render(phones, 100.0)[45, pucker]
    unrounded = render([(a, b, "IY" if p == "UW" else p) for a, b, p in phones], 100.0)[45, pucker]
    assert early > unrounded + 0.03
    assert render([(0.0, 0.5, "AA"), (0.5, 0.6, "F"), (0.6, 1.0, "AA")], 100.0)[:, roll].max() > 0.4


def test_louder_is_wider_and_styles_differ():
    phones = [(0.0, 0.3, "SIL"), (0.3, 0.6, "AA"), (0.6, 1.0, "SIL")]
    even = gap(render(phones, 50.0)).max()
    assert gap(render(phones, 50.0, energy=np.full(100, 6.0))).max() > even + 0.5
    sizes = {style: gap(render(phones, 50.0, style)).max() for style in STYLES}
    assert sizes["mumbled"] < sizes["whispered"] < sizes["neutral"] < sizes["broad"]


def test_a_seed_is_a_speaker():
    phones = [(0.0, 0.3, "SIL"), (0.3, 0.6, "AA"), (0.6, 1.0, "SIL")]
    assert np.array_equal(render(phones, 50.0, seed=7), render(phones, 50.0, seed=7))
    assert not np.array_equal(render(phones, 50.0, seed=7), render(phones, 50.0, seed=8))
    left, right = (NAMES.index(f"mouthLowerDown{side}") for side in ("Left", "Right"))
    mean = render(phones, 50.0)
    np.testing.assert_array_equal(mean[:, left], mean[:, right])


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="style"):
        render([(0.0, 1.0, "SIL")], 50.0, "shouted")
    with pytest.raises(KeyError):
        render([(0.0, 1.0, "QQ")], 50.0)
