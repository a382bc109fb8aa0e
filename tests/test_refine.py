# SPDX-License-Identifier: GPL-3.0-or-later
"""The sliders, on numbers: what each does, and that closures stay closures."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference import FaceMotion, arkit_basis
from inference.refine import RAMP, Refinement, refine

NAMES = (
    "jawOpen",
    "mouthClose",
    "mouthFunnel",
    "mouthPucker",
    "mouthUpperUpLeft",
    "mouthLowerDownLeft",
    "mouthPressLeft",
    "mouthSmileLeft",
)
FPS = 50.0
FACTORS = ("strength", "jaw", "lip_closure", "rounding", "upper_lip", "lower_lip")


def column(name: str) -> int:
    return NAMES.index(name)


def gap(motion: FaceMotion) -> np.ndarray:
    """Millimetres between the inner lips in each frame, from the vertices themselves."""
    names, deltas = arkit_basis()
    basis = np.stack([deltas[names.index(name)] for name in motion.names])
    upper, lower = np.array([(3531, 3504), (2786, 2938), (1669, 1849)]).T
    offsets = np.tensordot(motion.weights.astype(np.float64), basis, axes=1)
    return 1.84 + 1e3 * (offsets[:, upper, 1] - offsets[:, lower, 1]).mean(axis=1)


@pytest.fixture(scope="module")
def spoken() -> FaceMotion:
    """Eight seconds: an open vowel and a closure by turns, eight of each, then a second of rest."""
    t = np.arange(400) / FPS
    opened = np.abs(np.sin(np.pi * t))
    shut = (opened < 0.3).astype(float)
    weights = np.zeros((400, len(NAMES)))
    weights[:, column("jawOpen")] = 0.2 + 0.4 * opened
    weights[:, column("mouthClose")] = shut * ((1.84 + 30.94 * weights[:, 0] + 1.9) / 37.46)
    for name, size in (("mouthFunnel", 0.15), ("mouthPucker", 0.5), ("mouthUpperUpLeft", 0.3), ("mouthSmileLeft", 0.2)):
        weights[:, column(name)] = size * opened
    weights[:, column("mouthLowerDownLeft")] = 0.4 * opened
    weights[350:] = 0
    return FaceMotion(FPS, 0.0, NAMES, weights.astype(np.float32), np.zeros((len(NAMES), 0, 3), np.float32))


def shut(motion: FaceMotion) -> np.ndarray:
    return motion.weights[:, column("mouthClose")] > 0.1


def with_(motion: FaceMotion, **amounts: Any) -> FaceMotion:
    return refine(motion, Refinement(**amounts))


@pytest.mark.parametrize("kind", ["blendshapes", "vertices"])
def test_neutral_sliders_change_no_bit(spoken: FaceMotion, kind: str) -> None:
    count = len(spoken.weights)
    for refinement in (
        Refinement(),
        Refinement(**{name: np.ones(count) for name in FACTORS}, smoothing=np.zeros(count), offset=np.zeros(count)),
        Refinement(mutes=((100.0, 200.0),)),
    ):
        refined = refine(replace(spoken, kind=kind), refinement)
        assert refined.weights.tobytes() == spoken.weights.tobytes()
        assert (refined.start, refined.names, refined.fps) == (spoken.start, spoken.names, spoken.fps)


@pytest.mark.parametrize("name", FACTORS)
def test_one_for_the_whole_is_one_for_each_frame(spoken: FaceMotion, name: str) -> None:
    whole = with_(spoken, **{name: 1.4})
    np.testing.assert_array_equal(whole.weights, with_(spoken, **{name: np.full(400, 1.4)}).weights)


def test_strength_scales_everything_and_zero_is_rest(spoken: FaceMotion) -> None:
    half = with_(spoken, strength=0.5)
    others = [k for k in range(len(NAMES)) if k != column("mouthClose")]
    np.testing.assert_allclose(half.weights[:, others], 0.5 * spoken.weights[:, others], atol=1e-6)
    assert not with_(spoken, strength=0.0).weights.any()


@pytest.mark.parametrize(
    "amounts",
    [
        {"strength": 0.5},
        {"strength": 1.6},
        {"jaw": 0.0},
        {"jaw": 1.5},
        {"rounding": 0.0},
        {"rounding": 2.0, "jaw": 0.4},
        {"upper_lip": 2.0},
        {"smoothing": 0.04},
        {"jaw": np.linspace(0, 2, 400)},
    ],
)
def test_shut_lips_stay_shut(spoken: FaceMotion, amounts: dict[str, Any]) -> None:
    """The gap of every closure is the network's own to 0.05 mm, and the jaw may still move under it."""
    closures = shut(spoken)
    assert gap(spoken)[closures].max() < 0
    refined = gap(with_(spoken, **amounts))
    assert np.abs(refined - gap(spoken))[closures].max() < 0.05


def test_without_holding_the_scaled_jaw_would_part_them(spoken: FaceMotion) -> None:
    """The test above can fail: the same factor on jawOpen alone leaves the lips millimetres apart."""
    weights = spoken.weights.copy()
    weights[:, column("jawOpen")] *= 1.5
    assert gap(replace(spoken, weights=weights))[shut(spoken)].min() > 1


def test_lips_never_pass_through_each_other(spoken: FaceMotion) -> None:
    """Jaw and mouthClose four times as large: what was a slit would be lips that pass through each other."""
    weights = np.zeros_like(spoken.weights)
    weights[:, column("jawOpen")] = 0.05
    weights[:, column("mouthClose")] = 0.075
    slit = replace(spoken, weights=weights)
    assert gap(slit).min() > 0.5
    assert gap(replace(slit, weights=4 * weights)).max() < -2
    assert gap(with_(slit, strength=2.0, jaw=2.0)).min() > -0.15


@pytest.mark.parametrize(
    ("name", "shapes"),
    [
        ("jaw", {"jawOpen", "mouthClose"}),
        ("rounding", {"mouthPucker", "mouthFunnel", "mouthClose"}),
        ("upper_lip", {"mouthUpperUpLeft", "mouthClose"}),
        ("lower_lip", {"mouthLowerDownLeft", "mouthClose"}),
        ("lip_closure", {"mouthClose"}),
    ],
)
def test_each_slider_moves_its_own_shapes(spoken: FaceMotion, name: str, shapes: set[str]) -> None:
    refined = with_(spoken, **{name: 1.5})
    changed = {NAMES[k] for k in np.flatnonzero((refined.weights != spoken.weights).any(axis=0))}
    assert changed <= shapes
    assert changed - {"mouthClose"} == shapes - {"mouthClose"}


def test_less_closure_parts_the_lips_as_at_rest(spoken: FaceMotion) -> None:
    loose = with_(spoken, lip_closure=0.0)
    np.testing.assert_allclose(gap(loose)[shut(spoken)], 1.84, atol=0.05)


def test_more_closure_completes_what_is_nearly_shut_but_leaves_rest_and_vowels(spoken: FaceMotion) -> None:
    closures = shut(spoken)
    weights = spoken.weights.copy()
    weights[closures, column("mouthClose")] -= ((0.9 - gap(spoken)[closures]) / 37.46).astype(np.float32)
    nearly = replace(spoken, weights=weights)
    assert gap(nearly)[closures].min() > 0.8
    firm = gap(with_(nearly, lip_closure=2.0))
    assert firm[closures].max() < 0.1
    np.testing.assert_allclose(firm[~closures], gap(nearly)[~closures], atol=1e-3)


def test_smoothing_takes_away_what_is_fast(spoken: FaceMotion) -> None:
    weights = spoken.weights.copy()
    weights[:, column("mouthSmileLeft")] += 0.1 * (np.arange(400) % 2)
    rough = replace(spoken, weights=weights)
    smile = column("mouthSmileLeft")
    for smoothing in (0.04, np.full(400, 0.04), np.linspace(0.03, 0.05, 400)):
        calm = with_(rough, smoothing=smoothing).weights[:, smile]
        assert np.abs(np.diff(calm, 2))[8:-8].max() < 0.02 < np.abs(np.diff(weights[:, smile], 2)).max()


def test_smoothing_that_differs_by_rounding_is_one_smoothing(spoken: FaceMotion) -> None:
    """Between the least and the most of it no other numbers lie: the motion was NaN."""
    nearly = np.full(400, 0.04)
    nearly[7] = np.nextafter(0.04, 1.0)
    calm = with_(spoken, smoothing=nearly).weights
    np.testing.assert_allclose(calm, with_(spoken, smoothing=0.04).weights, atol=1e-6)


def test_a_constant_offset_is_exact(spoken: FaceMotion) -> None:
    later = with_(spoken, offset=0.25)
    assert later.start == spoken.start + 0.25
    assert later.weights.tobytes() == spoken.weights.tobytes()


def test_a_changing_offset_comes_later_where_it_says(spoken: FaceMotion) -> None:
    """0.1 s early at the beginning, 0.2 s late at the end: so much longer, and nothing is lost."""
    offset = np.linspace(-0.1, 0.2, 400)
    moved = with_(spoken, offset=offset)
    assert moved.start == pytest.approx(spoken.start - 0.1)
    assert moved.times[-1] == pytest.approx(spoken.times[-1] + 0.2, abs=1 / spoken.fps)
    np.testing.assert_allclose(moved.weights[[0, -1]], spoken.weights[[0, -1]], atol=1e-6)
    jaw = column("jawOpen")
    for time in (1.0, 3.0, 5.0):
        wanted = np.interp(time - np.interp(time, spoken.times, offset), spoken.times, spoken.weights[:, jaw])
        assert np.interp(time, moved.times, moved.weights[:, jaw]) == pytest.approx(wanted, abs=0.01)


def test_an_offset_that_hardly_changes_is_nearly_a_constant_one(spoken: FaceMotion) -> None:
    constant, changing = with_(spoken, offset=0.5), with_(spoken, offset=np.linspace(0.5, 0.501, 400))
    assert changing.start == constant.start and len(changing.weights) - len(constant.weights) in (0, 1)
    np.testing.assert_allclose(changing.weights[:400], constant.weights, atol=0.02)


def test_muted_is_rest_with_a_ramp_outside(spoken: FaceMotion) -> None:
    muted = with_(spoken, mutes=((2.0, 3.0), (5.0, 4.5)))
    times = spoken.times
    for first, last in ((2.0, 3.0), (4.5, 5.0)):
        assert not muted.weights[(times >= first) & (times <= last)].any()
    away = (np.abs(times - 2.5) > 0.52 + RAMP) & (np.abs(times - 4.75) > 0.27 + RAMP)
    np.testing.assert_array_equal(muted.weights[away], spoken.weights[away])
    jaw = column("jawOpen")
    assert np.abs(np.diff(muted.weights[:, jaw])).max() < 0.25


def test_mutes_stay_on_the_timeline_when_the_motion_moves(spoken: FaceMotion) -> None:
    muted = with_(spoken, mutes=((2.0, 3.0),), offset=0.5)
    inside = (muted.times > 1.97) & (muted.times < 3.03)
    assert inside.any() and not muted.weights[inside].any()
    assert muted.weights[~inside].any(axis=1).sum() > 280


def test_a_vertex_motion_knows_strength_smoothing_offset_and_mutes(spoken: FaceMotion) -> None:
    """Weights over principal shapes may be negative and above 1; no slider of shapes touches them."""
    exact = replace(spoken, weights=4 * spoken.weights - 1, kind="vertices")
    np.testing.assert_allclose(with_(exact, strength=0.5).weights, 0.5 * exact.weights)
    np.testing.assert_array_equal(
        with_(exact, jaw=0.2, lip_closure=2.0, rounding=0.0, upper_lip=2.0, lower_lip=0.0).weights, exact.weights
    )
    assert with_(exact, smoothing=0.1).weights.std() < exact.weights.std()
    assert not with_(exact, mutes=((0.0, 9.0),)).weights.any()


AMOUNT = st.floats(0, 2) | st.sampled_from([0.0, 1.0, 2.0])


@settings(max_examples=60)
@given(st.dictionaries(st.sampled_from(FACTORS), AMOUNT), st.floats(0, 0.3), st.integers(0, 2**16))
def test_whatever_the_sliders_say_weights_stay_weights(
    spoken: FaceMotion, factors: dict[str, float], smoothing: float, seed: int
) -> None:
    weights = np.random.default_rng(seed).random((50, len(NAMES))).astype(np.float32) ** 3
    refined = refine(replace(spoken, weights=weights), Refinement(**factors, smoothing=smoothing))
    assert refined.weights.shape == weights.shape and refined.weights.dtype == np.float32
    assert np.isfinite(refined.weights).all()
    assert refined.weights.min() >= 0 and refined.weights.max() <= 1


@pytest.mark.parametrize("amount", [np.ones(3), np.nan, np.ones((400, 2))])
def test_amounts_that_fit_no_frame_are_refused(spoken: FaceMotion, amount: Any) -> None:
    with pytest.raises(ValueError, match="jaw"):
        with_(spoken, jaw=amount)
