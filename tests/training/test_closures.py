# SPDX-License-Identifier: GPL-3.0-or-later
"""Counting closures: windows, control consonants, tallies, and the sentences they are counted on."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("pocketsphinx")

from training.closures import CRITERIA, OTHERS, Criterion, Tally, closed_events, lip_gap
from training.corpus.engines import MBROLA_VOICES, pho_phones, synthesise
from training.corpus.voices import Voice
from training.evaluation.languages import LANGUAGES, VOICES, sentences
from training.evaluation.vertices import rules_motions

FPS = 50.0
PHONES = [(0.0, 0.4, "AA"), (0.4, 0.46, "T"), (0.46, 1.0, "AA"), (1.0, 1.06, "P"), (1.06, 1.12, "T"), (1.12, 2.0, "AA")]


def gap_shut(first: float, last: float) -> np.ndarray:
    times = np.arange(100) / FPS
    return np.where((times >= first) & (times < last), 0.5, 8.0)


def test_a_window_has_the_ends_it_names() -> None:
    criterion = Criterion(before=0.1, after=0.02, limit=1.0)
    assert criterion.met(gap_shut(0.90, 0.94), FPS, 1.0, 1.06)
    assert not criterion.met(gap_shut(0.84, 0.88), FPS, 1.0, 1.06)
    assert criterion.met(gap_shut(1.08, 1.2), FPS, 1.0, 1.06)
    assert not criterion.met(gap_shut(1.10, 1.2), FPS, 1.0, 1.06)
    assert criterion.met(gap_shut(0, 1), FPS, 50.0, 50.1) is None


def test_a_centred_window_ignores_the_length_of_the_phone() -> None:
    criterion = Criterion(before=0.04, after=0.04, limit=1.0, centred=True)
    assert not criterion.met(gap_shut(1.0, 1.05), FPS, 1.0, 1.4)
    assert criterion.met(gap_shut(1.18, 1.22), FPS, 1.0, 1.4)


def test_control_consonants_count_away_from_closures_only() -> None:
    gap = gap_shut(0.40, 0.46)
    near = CRITERIA["near"]
    assert closed_events(gap, FPS, PHONES, near) == [False]
    assert closed_events(gap, FPS, PHONES, near, OTHERS) == [True]  # the T beside the P is left out


def test_a_tally_gives_shares() -> None:
    tally = Tally.new()
    tally.add(gap_shut(1.0, 1.06), FPS, PHONES)
    tally.add(gap_shut(0.2, 0.24), FPS, PHONES)
    row = tally.row()
    assert row["events"] == 2
    assert row["near"] == row["firm"] == 0.5
    assert row["near others"] == 0.0


def test_the_rules_close_what_they_are_told_to() -> None:
    phones = [(0.0, 0.5, "SIL"), (0.5, 0.7, "AA"), (0.7, 0.78, "P"), (0.78, 1.1, "AA"), (1.1, 1.6, "SIL")]
    assert closed_events(lip_gap(*rules_motions([phones])), FPS, phones, CRITERIA["firm"]) == [True]


@pytest.mark.parametrize("begins", [0.0, 0.04])
def test_the_rules_close_a_recording_that_begins_with_p_as_training_shows_it(begins: float) -> None:
    """The lips lead the sound: they would have shut before the recording, and parted again when it begins."""
    silence = [(0.0, begins, "SIL")] if begins else []
    phones = [*silence, (begins, begins + 0.03, "P"), (begins + 0.03, 0.4, "AA"), (0.4, 0.9, "SIL")]
    gap = lip_gap(*rules_motions([phones]))
    assert len(gap) == 46 and gap.max() > 10
    assert closed_events(gap, FPS, phones, CRITERIA["firm"]) == closed_events(gap, FPS, phones) == [True]


def test_the_rules_draw_the_shortest_of_recordings() -> None:
    shortest, nothing = rules_motions([[(0.0, 0.05, "B")], []])
    assert len(shortest.weights) == 3 and len(nothing.weights) == 1


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_has_sentences_and_voices(language: str) -> None:
    assert len(sentences(language)) == 9
    assert any(voice.language == language for voice in VOICES)


def test_phones_that_mbrola_speaks_follow_one_another() -> None:
    spelt = "; a comment\n_\t30\nb\t65\naI\t120\t0 94 50 90\nts\t80\nA~\t50\np_h\t70\n\n_\t200\n"
    phones = pho_phones(spelt)
    assert [name for *_, name in phones] == ["SIL", "B", "AY", "T", "S", "AA", "P", "SIL"]
    assert [round(start, 3) for start, *_ in phones] == [0, 0.03, 0.095, 0.215, 0.255, 0.295, 0.345, 0.415]
    assert phones[-1][1] == pytest.approx(0.615)


@pytest.mark.skipif(
    not ((MBROLA_VOICES / "de5").exists() and shutil.which("espeak-ng") and shutil.which("mbrola")),
    reason="MBROLA's voice de5 is not installed; see training/corpus/setup_engines.sh",
)
def test_an_engine_that_training_never_hears_speaks() -> None:
    speech, phones = synthesise(Voice("mbrola", "de5", "de", 1), "Mama backt.", 1.0, 1.0, 0.5)
    assert len(speech) / 16000 == pytest.approx(phones[-1][1], abs=1e-3)
    loud = [np.std(speech[int(16000 * start) : int(16000 * end)]) for start, end, name in phones if name == "AA"]
    assert min(loud) > 0.01
