# SPDX-License-Identifier: GPL-3.0-or-later
"""ARKit names in every spelling."""

from __future__ import annotations

import pytest
from wav2sem_lipsync.inference import arkit_basis
from wav2sem_lipsync.operators.arkit_names import Channel, canonical, channels, recognise

NAMES = arkit_basis()[0]


@pytest.mark.parametrize(
    "spelling",
    ["mouthSmileLeft", "mouthsmileleft", "MOUTHSMILELEFT", "mouthSmile_L", "mouthSmile.L", "mouthSmile-l",
     "mouthSmile_Left", "mouthSmile Left", "mouthSmileL", "mouth_smile_left", "Mouth Smile L"],
)  # fmt: skip
def test_spellings_of_one_name(spelling: str) -> None:
    assert canonical(spelling) == "mouthsmileleft"


def test_all_names_stay_different() -> None:
    assert len({canonical(name) for name in NAMES}) == len(NAMES)


@pytest.mark.parametrize("name", ["mouthRollLower", "jawLeft", "mouthFunnel", "eyeWideRight"])
def test_names_that_end_like_a_side(name: str) -> None:
    assert recognise([name], NAMES) == {name: name}


def test_an_exact_spelling_wins() -> None:
    assert recognise(["JAWOPEN", "jawOpen"], ["jawOpen"]) == {"jawOpen": "jawOpen"}
    assert recognise(["JawOpen", "JAWOPEN"], ["jawOpen"]) == {"jawOpen": "JawOpen"}


def test_nothing_else_is_recognised() -> None:
    assert recognise(["smile", "Key 1", "jaw", "openJaw", ""], NAMES) == {}


def test_one_key_for_both_sides_takes_the_mean() -> None:
    names = ["jawOpen", "cheekPuffLeft", "cheekPuffRight"]
    assert channels(["cheekPuff"], names) == (Channel("cheekPuff", (1, 2)),)
    assert channels(["cheekPuff", "cheekPuffLeft"], names) == (Channel("cheekPuffLeft", (1,)),)


def test_a_side_of_its_own_is_no_half() -> None:
    """The names jawLeft and jawRight have no “jaw” between them unless a mesh says so."""
    assert channels(["jawLeft", "jawRight"], ["jawLeft", "jawRight"]) == (
        Channel("jawLeft", (0,)),
        Channel("jawRight", (1,)),
    )
