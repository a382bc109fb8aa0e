# SPDX-License-Identifier: GPL-3.0-or-later
"""The ablation's statistics and table, on made-up figures whose answer is known."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from training.ablation import JUDGED, SETTINGS, TRAINED, Vectors, need_same, table  # noqa: E402
from training.config import Config  # noqa: E402
from training.frozen import Heard, train_after  # noqa: E402
from training.metrics import seed_bootstrap  # noqa: E402
from training.model import FaceFormer  # noqa: E402
from training.packing import PREROLL, Clip, Corpus  # noqa: E402
from training.targets import NAMES  # noqa: E402

HELD, EVAL = 40, 7


def test_a_difference_in_every_run_and_clip_is_seen() -> None:
    random = np.random.default_rng(0)
    clips = random.normal(0, 1, (3, 60))
    mean, low, high = seed_bootstrap(clips + 0.1 + 0.02 * random.normal(size=clips.shape), clips)
    assert 0.09 < low < mean < high < 0.11


def test_a_difference_of_one_run_is_none() -> None:
    difference = np.zeros((3, 60))
    difference[1] = 0.3
    mean, low, high = seed_bootstrap(difference, np.zeros_like(difference))
    assert mean == pytest.approx(0.1)
    assert low == 0.0 and high >= 0.2


def test_a_difference_of_one_clip_is_none() -> None:
    difference = np.zeros((3, 60))
    difference[:, 7] = 6.0
    _, low, high = seed_bootstrap(difference, np.zeros_like(difference))
    assert low == 0.0 < high


def test_clips_without_a_figure_are_left_out() -> None:
    values = np.ones((2, 3))
    values[0, 2] = np.nan
    assert seed_bootstrap(values, np.zeros((2, 3))) == (1.0, 1.0, 1.0)
    assert np.isnan(seed_bootstrap(np.full((2, 3), np.nan), np.zeros((2, 3)))).all()


def test_a_constant_is_the_mean_for_everybody() -> None:
    vectors = Vectors(np.arange(12, dtype=np.float32).reshape(4, 3), np.ones((4, 3)), np.zeros((2, 3)))
    assert vectors.train_with("none") is None
    np.testing.assert_array_equal(vectors.train_with("own"), vectors.corpus)
    np.testing.assert_array_equal(vectors.train_with("text"), np.ones((4, 3)))
    np.testing.assert_allclose(vectors.train_with("constant"), np.tile([4.5, 5.5, 6.5], (4, 1)))


def write_figures(folder: Path, seeds: list[int]) -> None:
    clips = np.random.default_rng(1).normal(2, 0.5, HELD)
    for trained, kind in JUDGED.values():
        for seed in seeds:
            figures = np.full((HELD + EVAL, 3), np.nan)
            figures[:HELD, 0] = clips + (0.2 if kind == "other" else 0.0) + 0.01 * seed
            figures[:HELD, 1] = 0.7
            figures[HELD:, 0] = np.nan if kind == "text" else 0.6
            (folder / f"{trained}-{seed}").mkdir(parents=True, exist_ok=True)
            np.save(folder / f"{trained}-{seed}" / f"{kind}.npy", figures)


def test_the_table_tells_what_harms(tmp_path: Path) -> None:
    write_figures(tmp_path, [1, 2, 3])
    rows = {row["vector"]: row for row in table(tmp_path, [1, 2, 3, 4], HELD)}
    assert set(rows) == set(JUDGED) and {row["seeds"] for row in rows.values()} == {3}
    assert rows["own"]["lip_mm, own minus this"] is None
    mean, low, high = rows["own, another utterance's at test"]["lip_mm, own minus this"]
    assert mean == pytest.approx(-0.2) and low <= mean <= high < 0
    assert rows["constant"]["lip_mm, own minus this"] == pytest.approx((0, 0, 0), abs=1e-9)
    assert rows["own"]["lip_mm, spread of seeds"] == pytest.approx(0.01)
    assert rows["own"]["r_ap"] == pytest.approx(0.6)
    assert "r_ap" not in rows["true text's"]  # nobody wrote down what those clips say


def test_a_seed_counts_only_when_every_row_is_there(tmp_path: Path) -> None:
    assert table(tmp_path, [1, 2], HELD) == []
    write_figures(tmp_path, [1, 2])
    (tmp_path / f"{TRAINED[0]}-2" / "none.npy").unlink()
    assert {row["seeds"] for row in table(tmp_path, [1, 2], HELD)} == {1}


def test_runs_of_other_settings_are_not_put_into_one_table(tmp_path: Path) -> None:
    """With fewer held-out clips, what is left of the old ones would be read as the real faces' figures."""
    options = Namespace(**dict.fromkeys(SETTINGS, 1) | {"seeds": [1, 2], "folder": tmp_path / "new"})
    need_same(options, "corpus")
    need_same(Namespace(**vars(options) | {"seeds": [3]}), "corpus")
    for name, other in (("clips", 2), ("steps", 2), ("whole", True), ("initial", Path("a.pt"))):
        with pytest.raises(ValueError, match=f"--{name}.*--folder"):
            need_same(Namespace(**vars(options) | {name: other}), "corpus")
    with pytest.raises(ValueError, match="corpus"):
        need_same(options, "another")


@pytest.fixture(scope="module")
def small_corpus() -> Corpus:
    """Four clips of noise, in two of which a vector tells what the sound does not: how far the mouth opens."""
    random = np.random.default_rng(0)
    clips = []
    for number in range(4):
        sound = (random.normal(0, 0.05, 150 * 320) * 32768).astype(np.int16)
        weights = np.zeros((2, PREROLL + 150, len(NAMES)), np.float16)
        weights[:, :, NAMES.index("jawOpen")] = 0.1 + 0.5 * (number % 2)
        clips.append(Clip({"id": str(number), "source": "real:x"}, sound, np.zeros(150, np.int8), weights, 1))
    return Corpus(clips, tuple(NAMES), "key")


def test_what_only_the_vector_tells_is_learnt_behind_a_frozen_encoder(small_corpus: Corpus) -> None:
    config = Config(
        hidden=32, layers=1, heads=2, decoder=32, semantic=4, steps=120, batch=4, crop=1.0, rate=5e-3, seed=3
    )
    torch.manual_seed(0)
    network = FaceFormer(config, len(NAMES))
    heard = Heard.of(network, small_corpus, np.arange(4))
    assert [len(features) for features in heard.features] == [150] * 4
    encoder = {key: value.clone() for key, value in network.audio_encoder.state_dict().items()}
    vectors = np.repeat(np.array([[-1.0], [1.0], [-1.0], [1.0]], np.float32), 4, 1)
    trained = train_after(network, small_corpus, heard, vectors, config)
    assert all(torch.equal(value, encoder[key]) for key, value in trained.audio_encoder.state_dict().items())
    jaw = NAMES.index("jawOpen")
    with torch.no_grad():
        openings = [
            trained(torch.tensor(small_corpus.clips[0].speech())[None], torch.eye(4)[:1], torch.full((1, 4), sign))
            .weights[-1][0, 50:, jaw]
            .mean()
            for sign in (-1.0, 1.0)
        ]
    assert openings[1] - openings[0] > 0.2  # of the true 0.5
