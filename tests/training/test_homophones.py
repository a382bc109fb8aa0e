# SPDX-License-Identifier: GPL-3.0-or-later
"""Near-homophones: choosing pairs, finding where they differ, and figures that are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("pocketsphinx")

from training.evaluation.homophones import LEAD, difference_times, looks_different, read_pairs, separation


def test_only_pairs_that_look_different(tmp_path: Path) -> None:
    path = tmp_path / "pairs.tsv"
    path.write_text(
        "all\tor\tL\tR\tfinal\t9\nthem\tthen\tM\tN\tfinal\t8\nfoot\tput\tF\tP\tinitial\t7\nbed\tped\tB\tP\tx\t6\n"
    )
    assert read_pairs(path, 9) == [("them", "then"), ("foot", "put")]
    assert read_pairs(path, 1) == [("them", "then")]
    assert looks_different("F", "S") and not looks_different("P", "B") and not looks_different("T", "K")


def test_words_differ_where_the_carrier_ends() -> None:
    def phones(names: str, step: float = 0.1) -> list[tuple[float, float, str]]:
        return [(step * i, step * (i + 1), name) for i, name in enumerate(names.split())]

    one, other = phones("SIL S EY M AE P AH G EH N SIL"), phones("SIL S EY N AE P AH G EH N SIL")
    assert difference_times(one, other) == pytest.approx((0.3 - LEAD, 0.4))
    longer = phones("SIL S EY T R AE P AH G EH N SIL")
    assert difference_times(longer, one) == pytest.approx((0.3 - LEAD, 0.5))


def test_words_apart_and_together() -> None:
    random = np.random.default_rng(0)
    words = ["map", "nap"] * 6
    groups = ["a"] * 12
    noise = 0.1 * random.normal(size=(12, 5))
    mixed = separation(noise, words, groups)
    assert mixed["ratio"] == pytest.approx(1, abs=0.15)
    apart = separation(noise + np.array([[2.0] * 5, [0.0] * 5] * 6), words, groups)
    assert apart["nearest"] == 1.0 and apart["ratio"] > 10 and apart["mse"] == pytest.approx(4, rel=0.15)


def test_a_scale_changes_the_raw_figure_only() -> None:
    random = np.random.default_rng(1)
    vectors, words, groups = random.normal(size=(12, 5)), ["map", "nap"] * 6, ["a"] * 6 + ["b"] * 6
    plain, scaled = separation(vectors, words, groups), separation(10 * vectors, words, groups)
    assert scaled["mse"] == pytest.approx(100 * plain["mse"])
    for name in ("ratio", "cosine", "nearest"):
        assert scaled[name] == pytest.approx(plain[name])
