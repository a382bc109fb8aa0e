# SPDX-License-Identifier: GPL-3.0-or-later
"""Still mouths kept still, and everything that moves left alone."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from toy_package import write_json

from inference import LipSyncModel, ModelError, ModelPackage, Speech
from inference.steady import Steadiness

FPS = 50.0
STEADY = Steadiness(still=0.002, moving=0.004, around=0.08, smoothing=0.04)
PER_WEIGHT = 0.03  # metres of opening for weight 1


def steadied(curve: np.ndarray) -> np.ndarray:
    """A curve of openings in metres, through a single weight."""
    return STEADY.keep_still((curve / PER_WEIGHT)[:, None], curve, FPS)[:, 0] * PER_WEIGHT


def test_a_wavering_mouth_keeps_still() -> None:
    random = np.random.default_rng(3)
    curve = 0.003 + 0.0003 * random.standard_normal(400)
    calm = steadied(curve)
    assert np.diff(calm, 3).std() < 0.05 * np.diff(curve, 3).std()
    assert abs(calm.mean() - curve.mean()) < 1e-5


def test_syllables_and_closures_are_untouched() -> None:
    time = np.arange(200) / FPS
    curve = 0.006 - 0.006 * np.cos(2 * np.pi * 5 * time)
    np.testing.assert_allclose(steadied(curve)[20:-20], curve[20:-20], atol=1e-5)


def test_nothing_comes_late() -> None:
    curve = np.concatenate([np.zeros(50), np.linspace(0, 0.012, 10), np.full(50, 0.012)])
    backwards = steadied(curve[::-1])[::-1]
    np.testing.assert_allclose(steadied(curve), backwards, atol=1e-12)


@settings(max_examples=50)
@given(hnp.arrays(np.float32, st.tuples(st.integers(1, 40), st.just(3)), elements=st.floats(0, 1, width=32)))
def test_weights_stay_within_what_they_were(weights: np.ndarray) -> None:
    calm = STEADY.keep_still(weights, weights.sum(axis=1) * 0.002, FPS)
    assert calm.shape == weights.shape and calm.dtype == weights.dtype
    assert (calm >= weights.min(axis=0) - 1e-6).all() and (calm <= weights.max(axis=0) + 1e-6).all()


CLOSURE = {
    "signal": ["mouthPucker"],
    "begins": 0.1,
    "certain": 0.3,
    "pairs": [[3531, 3504]],
    "neutral": 0.002,
    "shut": 0,
}
TABLE = {"still": 0.002, "moving": 0.004, "around": 0.08, "smoothing": 0.04}


def test_a_package_may_ask_for_it(folder: Path, babble: np.ndarray) -> None:
    write_json(folder, closure=CLOSURE)
    plain = LipSyncModel.load(folder).run(Speech(babble)).weights
    write_json(folder, closure=CLOSURE, steadiness=TABLE | {"still": 0.05, "moving": 0.1})
    model = LipSyncModel.load(folder)
    calm = model.run(Speech(babble)).weights
    assert calm.shape == plain.shape
    assert np.abs(np.diff(calm, 3, axis=0)).mean() < 0.5 * np.abs(np.diff(plain, 3, axis=0)).mean()


@pytest.mark.parametrize(
    "change", [{"still": 0.004}, {"moving": 7}, {"around": 0}, {"smoothing": float("nan")}, {"smoothing": "long"}]
)
def test_tables_that_do_not_fit_are_refused(folder: Path, change: dict[str, object]) -> None:
    write_json(folder, closure=CLOSURE, steadiness=json.loads(json.dumps(TABLE | change)))
    with pytest.raises(ModelError, match="steadiness"):
        ModelPackage.read(folder)


def test_it_needs_lips_to_watch(folder: Path) -> None:
    write_json(folder, steadiness=TABLE)
    with pytest.raises(ModelError, match="steadiness"):
        ModelPackage.read(folder)
