# SPDX-License-Identifier: GPL-3.0-or-later
"""Styles and their blends, as text and as numbers."""

import numpy as np
import pytest

from inference import ModelError
from inference.styles import parse_blend, style_vector

STYLES = ("neutral", "broad", "FaceTalk_170725: a")


@pytest.mark.parametrize(
    ("style", "expected"),
    [
        ("broad", [0, 1, 0]),
        ("neutral:0.5,broad:0.5", [0.5, 0.5, 0]),
        (" neutral : 3 , broad:1 ", [0.75, 0.25, 0]),
        ("neutral, broad", [0.5, 0.5, 0]),
        ("broad:0, neutral:2", [1, 0, 0]),
        ("FaceTalk_170725: a", [0, 0, 1]),  # a name may hold a colon
        ("FaceTalk_170725: a:1, broad:1", [0, 0.5, 0.5]),
        ({"neutral": 1, "broad": 3}, [0.25, 0.75, 0]),
    ],
)
def test_blends(style, expected):
    np.testing.assert_allclose(style_vector(style, STYLES), expected)


@pytest.mark.parametrize(
    "style", ["loud", "broad:much", "broad:-1, neutral:2", "broad:0", "broad:nan", ",", {}, "neutral;broad"]
)
def test_what_is_no_blend_is_refused_in_one_sentence(style):
    with pytest.raises(ModelError) as refused:
        style_vector(style, STYLES)
    assert str(refused.value).count(". ") == 0


def test_the_refusal_names_the_choice():
    with pytest.raises(ModelError, match="'loud'; choose among neutral, broad"):
        style_vector("loud:1, broad:1", STYLES)


def test_one_name_twice_adds_up():
    assert parse_blend("broad:1, broad:2, neutral") == {"broad": 3.0, "neutral": 1.0}
