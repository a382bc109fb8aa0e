# SPDX-License-Identifier: GPL-3.0-or-later
"""Closures that close: the lip gap of the mesh, not the weights, is what is looked at."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from toy_package import write_json

from inference import LipSyncModel, ModelError, ModelPackage, Speech, arkit_basis
from inference.closure import FASTEST, Closure, reachable

NAMES = ("jawOpen", "mouthClose", "mouthPressLeft", "mouthPressRight")
PAIRS = ((3531, 3504), (2786, 2938), (1669, 1849))  # inner lips, upper and lower
CLOSURE = Closure(("mouthPressLeft", "mouthPressRight"), 0.02, 0.05, PAIRS, 0.00184, -0.0001)


def basis_of(names: tuple[str, ...]) -> np.ndarray:
    known, deltas = arkit_basis()
    return deltas[[known.index(name) for name in names]]


def gap_of(weights: np.ndarray) -> np.ndarray:
    """Metres between the lips of the mesh that the weights make."""
    offsets = np.einsum("tk,kvc->tvc", weights, basis_of(NAMES))
    return CLOSURE.neutral + np.mean([offsets[:, upper, 1] - offsets[:, lower, 1] for upper, lower in PAIRS], axis=0)


@settings(max_examples=50)
@given(hnp.arrays(np.float32, (8, 4), elements=st.floats(0, 1, width=32)))
def test_sure_closures_close_and_others_stay(weights: np.ndarray) -> None:
    weights = weights * np.float32([0.6, 0.5, 0.1, 0.1])
    slowly = FASTEST / 0.1  # frames so long that lips get anywhere within one
    firmed = CLOSURE.firm(weights, NAMES, basis_of(NAMES), slowly)
    press = weights[:, 2:].mean(axis=1)
    assert (gap_of(firmed)[press >= 0.05] < 0.0002).all()
    np.testing.assert_allclose(firmed[press <= 0.02], weights[press <= 0.02], atol=1e-6)
    assert (gap_of(firmed) <= gap_of(weights) + 1e-6).all(), "lips are never opened"
    np.testing.assert_array_equal(np.delete(firmed, 1, axis=1), np.delete(weights, 1, axis=1))


def test_doubt_passes_smoothly_into_certainty() -> None:
    press = np.linspace(0, 0.08, 200, dtype=np.float32)
    weights = np.stack([np.full(200, 0.3, np.float32), np.zeros(200, np.float32), press, press], axis=1)
    gap = gap_of(CLOSURE.firm(weights, NAMES, basis_of(NAMES), 60.0))
    assert gap[0] > 0.009
    assert abs(gap[-1] - CLOSURE.shut) < 1e-5
    assert np.abs(np.diff(gap)).max() < 0.0004


@pytest.mark.parametrize("fps", [24.0, 62.5, 120.0])
def test_lips_come_to_a_closure_and_leave_it_as_fast_as_lips_can(fps: float) -> None:
    """A wide mouth that was sure of a p within one frame shut and opened by 20 mm in 16 ms."""
    weights = np.zeros((60, 4), np.float32)
    weights[:, 0] = 0.6
    weights[25:35, 2:] = 0.1
    gap = gap_of(CLOSURE.firm(weights, NAMES, basis_of(NAMES), fps))
    assert gap[0] == gap[-1] == gap_of(weights)[0] > 0.015
    assert np.abs(gap[25:35] - CLOSURE.shut).max() < 1e-5
    assert np.abs(np.diff(gap)).max() <= FASTEST / fps + 1e-6
    assert (np.diff(gap[:30]) <= 1e-6).all() and (np.diff(gap[30:]) >= -1e-6).all()


@settings(max_examples=50)
@given(hnp.arrays(np.float64, st.integers(1, 30), elements=st.floats(-1, 1)), st.floats(0.01, 1))
def test_what_lips_can_reach_is_the_widest_that_is_slow_enough(gap: np.ndarray, step: float) -> None:
    frames = np.arange(len(gap))
    widest = (gap + step * np.abs(frames[:, None] - frames)).min(axis=1)
    np.testing.assert_allclose(reachable(gap, step), widest, atol=1e-9)


NARROWING = replace(CLOSURE, narrow=0.5, between=(0.0005, 0.016))


@settings(max_examples=50)
@given(st.floats(0, 0.99), st.floats(0, 0.02), st.floats(0.001, 0.05))
def test_narrow_gaps_get_narrower_and_rest_and_wide_mouths_stay(narrow: float, rest: float, further: float) -> None:
    gap = np.linspace(-0.005, 0.09, 400)
    closure = replace(CLOSURE, narrow=narrow, between=(rest, rest + further))
    found = closure.narrowed(gap)
    between = (gap > rest) & (gap < rest + further)
    np.testing.assert_array_equal(found[~between], gap[~between])
    assert (found[between] <= gap[between]).all() and (found[between] >= rest).all()
    assert (np.diff(found) > 0).all(), "what was narrower stays narrower"
    assert np.abs(np.diff(found)).max() <= 4 / 3 * np.diff(gap).max() + 1e-12, "and nothing moves much faster"


def test_lips_that_nearly_meet_come_nearer_on_the_mesh() -> None:
    weights = np.zeros((100, 4), np.float32)
    weights[:, 0] = np.linspace(0.05, 0.6, 100)
    before = gap_of(weights)
    after = gap_of(NARROWING.firm(weights, NAMES, basis_of(NAMES), 60.0))
    np.testing.assert_allclose(after, NARROWING.narrowed(before), atol=1e-6)
    assert before[0] - after[0] > 0.0009 and np.isclose(after[-1], before[-1], atol=1e-6)
    np.testing.assert_allclose(gap_of(CLOSURE.firm(weights, NAMES, basis_of(NAMES), 60.0)), before, atol=1e-6)


def test_styles_whose_lips_are_narrow_already_are_spared() -> None:
    spared = replace(NARROWING, spared=("mumbled",))
    assert spared.in_style({"mumbled": 0.0, "broad": 1.0}) == spared
    assert spared.in_style({"mumbled": 1.0}).narrow == 0.0
    assert spared.in_style({"mumbled": 0.25, "neutral": 0.75}).narrow == pytest.approx(0.75 * spared.narrow)
    assert NARROWING.in_style({"mumbled": 1.0}) == NARROWING


TABLE = {"signal": ["mouthPucker"], "begins": 0.1, "certain": 0.3, "pairs": PAIRS, "neutral": 0.002, "shut": 0.0}


def test_a_package_may_ask_for_it(folder: Path, babble: np.ndarray) -> None:
    plain = LipSyncModel.load(folder).run(Speech(babble)).weights
    write_json(folder, closure=TABLE)
    model = LipSyncModel.load(folder)
    expected = model.package.closure.firm(plain, model.names, model.basis, model.package.fps)
    np.testing.assert_array_equal(model.run(Speech(babble)).weights, expected)
    assert np.abs(expected - plain).max() > 0.1


def test_a_package_may_spare_a_style(folder: Path, babble: np.ndarray) -> None:
    table = TABLE | {"narrow": 0.6, "between": [0.0005, 0.05]}
    write_json(folder, closure=table)
    plain = LipSyncModel.load(folder)
    write_json(folder, closure=table | {"spared": ["broad"]})
    spared = LipSyncModel.load(folder)

    def opening(model: LipSyncModel, style: str) -> float:
        return float(model.package.closure.gap(model.run(Speech(babble), style=style).weights, model.basis).mean())

    assert opening(spared, "neutral") == opening(plain, "neutral")
    for style in ("broad", "neutral:0.5,broad:0.5"):
        assert opening(spared, style) > opening(plain, style) + 1e-5


@pytest.mark.parametrize(
    "change",
    [
        {"signal": []},
        {"signal": ["eyeBlinkLeft"]},
        {"signal": 3},
        {"begins": 0.4},
        {"certain": "much"},
        {"pairs": []},
        {"pairs": [[1]]},
        {"pairs": [[1, 5023]]},
        {"pairs": [[1.5, 2]]},
        {"neutral": 7.0},
        {"shut": float("nan")},
        {"narrow": 1.0},
        {"narrow": float("nan")},
        {"between": 3},
        {"between": [0.001]},
        {"between": [0.01, 0.001]},
        {"between": [0.0, 7.0]},
        {"spared": ["sung"]},
        {"spared": [["neutral"]]},
    ],
)
def test_tables_that_do_not_fit_are_refused(folder: Path, change: dict[str, object]) -> None:
    write_json(folder, closure=json.loads(json.dumps(TABLE | change)))
    with pytest.raises(ModelError, match="closure"):
        ModelPackage.read(folder)
