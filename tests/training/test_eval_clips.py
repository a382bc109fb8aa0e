# SPDX-License-Identifier: GPL-3.0-or-later
"""Development clips as they come: untracked, tracked in part, without closures, at other rates, or only one of them."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

pytest.importorskip("torch")
pytest.importorskip("matplotlib")

from inference import FaceMotion, Speech
from training import evaluate
from training.evaluation import verdict
from training.evaluation.baselines import linear_regression
from training.evaluation.clips import EvalClip, EvalSet
from training.evaluation.plots import Result, plot_clip, plot_lags, plot_robustness, window_lags
from training.evaluation.rest import jitter

RATE, SECONDS = 16000, 3
Change = Callable[[dict[str, np.ndarray]], None]


@pytest.fixture
def folder(shared: Path, tmp_path: Path) -> Callable[..., Path]:
    """Makes a folder with the scorer of the development clips and clips of noise beside a sine of a mouth."""

    def make(*changes: Change) -> Path:
        clips = tmp_path / "clips"
        for name in ("audio", "refs"):
            (clips / name).mkdir(parents=True)
        for name in ("score.py", "flame_lmk.json"):
            shutil.copy(shared / "eval" / name, clips)
        random = np.random.default_rng(0)
        for number, change in enumerate(changes):
            sound = random.normal(0, 0.05, SECONDS * RATE)
            soundfile.write(clips / "audio" / f"{number}.flac", sound, RATE)
            times = np.arange(SECONDS * 25) / 25
            lips = {"t": times, "aperture": 0.1 + 0.05 * np.sin(times * (7 + number)), "width": np.full(75, 0.6),
                    "speech": np.array([0.2, 2.8])}  # fmt: skip
            change(lips)
            np.savez(clips / "refs" / f"{number}.npz", **lips)
        about = {str(number): {"group": "grid"} for number in range(len(changes))}
        (clips / "manifest.json").write_text(json.dumps({"clips": about}))
        return clips

    return make


def as_it_is(lips: dict[str, np.ndarray]) -> None:
    pass


def untracked(lips: dict[str, np.ndarray]) -> None:
    lips["aperture"][:] = np.nan


def all_speech(lips: dict[str, np.ndarray]) -> None:
    del lips["speech"]


def evaluated(clips: Path, package: Path, shared: Path, monkeypatch: pytest.MonkeyPatch, *sections: str) -> str:
    argv = ["evaluate", str(package), "--out", str(clips / "report"), "--eval", str(clips), "--threads", "1"]
    argv += ["--flame", str(shared / "flame" / "flame2023open_subset.npz"), "--sections", *sections]
    monkeypatch.setattr(sys, "argv", argv)
    evaluate.main()
    return (clips / "report" / "report.md").read_text(encoding="utf-8")


def test_an_untracked_clip_is_named_and_the_others_are_judged(folder, toy_folder, shared, monkeypatch) -> None:
    text = evaluated(folder(as_it_is, untracked, all_speech), toy_folder, shared, monkeypatch, "clips", "jitter")
    assert "Left out" not in text and "nobody tracked: 1." in text
    (mean,) = (line for line in text.splitlines() if line.startswith("| mean r_ap, grid"))
    assert np.isfinite(float(mean.split("|")[3]))
    assert "| 2 | package |" in text and "| 1 | package |" not in text


def test_one_clip_has_no_others_to_learn_a_regression_from(folder, toy_folder, shared, monkeypatch) -> None:
    text = evaluated(folder(as_it_is), toy_folder, shared, monkeypatch, "clips")
    assert "| 0 | package |" in text and "linear regression |" not in text


def test_clips_that_nobody_tracked_are_none(folder, toy_folder, shared, monkeypatch) -> None:
    text = evaluated(folder(untracked), toy_folder, shared, monkeypatch, "clips")
    assert "Left out: clips" in text and "no clip whose lips were tracked" in text


def test_a_damaged_folder_is_told_in_a_sentence(folder, toy_folder, shared, monkeypatch) -> None:
    clips = folder(as_it_is)
    (clips / "refs" / "0.npz").write_bytes(b"PK\x03\x04 no archive")
    assert "are damaged" in evaluated(clips, toy_folder, shared, monkeypatch, "clips")


def test_the_envelope_is_that_of_the_sound_whatever_its_rate(folder, shared) -> None:
    clips = folder(as_it_is)
    plain = EvalSet(clips, np.zeros((5023, 3)))
    expected = plain.scorer.baseline_curves("0", "envelope")
    found = plain.envelope(plain.clips[0])
    np.testing.assert_allclose(found["aperture"], expected["aperture"], atol=1e-6)
    sound = soundfile.read(clips / "audio" / "0.flac")[0]
    soundfile.write(clips / "audio" / "0.flac", np.repeat(sound, 3)[:, None].repeat(2, 1), 3 * RATE)
    again = EvalSet(clips, np.zeros((5023, 3)))
    assert np.isfinite(again.envelope(again.clips[0])["aperture"]).all()


def test_regression_passes_over_clips_whose_lips_lie_beyond_the_sound() -> None:
    times = np.arange(75) / 25
    sound = np.random.default_rng(0).normal(0, 0.05, 3 * RATE).astype(np.float32)
    clips = [EvalClip(name, "grid", Speech(sound), {"t": times + late, "aperture": np.sin(times)})
             for name, late in (("a", 0.0), ("b", 0.0), ("c", 99.0))]  # fmt: skip
    assert np.isfinite(linear_regression(clips)["c"]["aperture"]).all()


def row(**changes: float) -> dict[str, object]:
    figures = {"r_ap": 0.8, "lag": 0.0, "amp": 1.0, "n_close": 4, "rec": 0.75, "prec": 0.8, **changes}
    return {"clip": "a", "group": "grid", "predictor": "package", **figures}


def test_clips_without_closures_give_no_verdict_on_closures() -> None:
    what = {found["what"] for found in verdict.clip_verdicts([row(n_close=0, rec=np.nan, prec=np.nan)])}
    assert "median lag (ms)" in what and "closures: recall at mean precision" not in what


def test_lips_that_never_close_are_judged_so() -> None:
    found = {each["what"]: each for each in verdict.clip_verdicts([row(rec=0.0, prec=np.nan, lag=np.nan), row()])}
    assert found["closures: recall at mean precision"]["reached"] == "0.38 at 0.80"
    assert found["median lag (ms)"]["reached"] == "0"
    (still,) = (each for each in verdict.clip_verdicts([row(lag=np.nan)]) if each["what"] == "median lag (ms)")
    assert still["reached"] == "–" and still["holds"] == "NO"


def mouth(times: np.ndarray) -> np.ndarray:
    return 0.1 + 0.05 * np.sin(2 * np.pi * times) * np.sin(1.7 * times)


def test_a_lag_is_read_only_where_the_lips_were_tracked() -> None:
    """Lips that nobody tracked for a while are not shut, nor late."""
    times = np.arange(500) / 100
    found = {"t": times, "aperture": mouth(times - 0.05)}
    truth = {"t": times, "aperture": mouth(times), "speech": np.array([0.0, 5.0])}
    clip = EvalClip("a", "grid", Speech(np.zeros(5 * RATE, np.float32)), truth)
    motion = FaceMotion(50.0, 0.0, ("jawOpen",), np.zeros((2, 1), np.float32), np.zeros((1, 4, 3), np.float32))
    np.testing.assert_allclose(window_lags(Result(clip, motion, found, {}, {})), 50, atol=1e-6)
    truth["aperture"][300:320] = np.nan
    lags = window_lags(Result(clip, motion, found, {}, {}))
    assert len(lags) and np.allclose(lags, 50)


def test_lips_that_hardly_move_have_no_median_lag_in_the_picture(folder, tmp_path, monkeypatch) -> None:
    clips = EvalSet(folder(as_it_is), np.zeros((5023, 3)))
    (clip,) = clips.clips
    weights = np.array([[-2.0, 0.0], [0.5, 1.0]] * 75, np.float32)
    motion = FaceMotion(50.0, 0.0, ("feature_0", "feature_1"), weights, np.zeros((2, 4, 3), np.float32))
    still = {"t": np.arange(150) / 50, "aperture": np.full(150, 0.02)}
    scores = {"r_ap": 0.0, "lag": np.nan, "amp": 0.0, "n_close": 0.0, "rec": np.nan}
    result, figures = Result(clip, motion, still, scores, {}), []
    monkeypatch.setattr("training.evaluation.plots.plt.close", figures.append)
    assert len(plot_lags([result], tmp_path / "lags.png")) == 0
    axis = figures[0].axes[0]
    assert "no window" in axis.get_title() and "nan" not in str([t.get_text() for t in axis.get_legend().get_texts()])
    plot_clip(clips, result, tmp_path / "clip.png")
    labels = [text.get_text() for text in figures[1].axes[1].get_yticklabels()]
    assert labels == ["feature_0 ≤2.00", "feature_1 ≤1.00"]  # the colours are of sizes, too
    rows = [{"condition": "babble", "clip": name, "kept": kept} for name, kept in (("0", -0.5), ("mean", np.nan))]
    plot_robustness(rows, tmp_path / "robustness.png")
    assert figures[2].axes[0].get_ylim()[0] < -0.5


class Still:
    """A model whose lips do not move."""

    def run(self, speech: Speech, style: str | None) -> FaceMotion:
        return FaceMotion(50.0, 0.0, ("a",), np.zeros((150, 1), np.float32), np.zeros((1, 5023, 3), np.float32))


def test_jerk_does_not_jump_over_what_was_not_tracked(folder) -> None:
    def lost(lips: dict[str, np.ndarray]) -> None:
        """Still, but for a second's movement that the tracker lost: what is left of it is a jump of half a mm."""
        lips["aperture"][:] = 0.1
        lips["aperture"][38:] += 0.5 / 89.06
        lips["aperture"][30:38] = np.nan

    (found,) = jitter(Still(), EvalSet(folder(lost), np.zeros((5023, 3))), None)
    assert found["speaker"] < 1e-6 and 0.5 < found["still"] < 0.9
