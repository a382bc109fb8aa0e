# SPDX-License-Identifier: GPL-3.0-or-later
"""The stages of `python -m training`: each needs only what an earlier one made."""

from __future__ import annotations

from pathlib import Path

import pytest

from training.__main__ import PLANS, stages
from training.config import PROFILES


def argument(stage: list[str], name: str) -> str | None:
    """Value of option `name` of a stage."""
    return stage[stage.index(name) + 1] if name in stage else None


@pytest.mark.parametrize("profile", sorted(PROFILES))
def test_every_stage_finds_what_it_needs(tmp_path: Path, profile: str) -> None:
    runs = tmp_path / "runs"
    made: set[Path] = set()
    steps = stages(profile, runs, tmp_path / "cache", tmp_path / "speech")
    for stage in steps:
        for name in ("--initial", "--wav2sem", "--labels"):
            if argument(stage, name):
                assert Path(str(argument(stage, name))) in made
        for module in ("training.export", "training.label"):
            if module in stage:
                assert Path(stage[stage.index(module) + 1]) in made
        if "training.label" in stage:
            made.add(Path(stage[stage.index("training.label") + 2]))
        folder = argument(stage, "--folder")
        if folder:
            made.add(Path(folder) / ("wav2sem.pt" if "training.wav2sem" in stage else "last.pt"))
        if "training.train" in stage:  # an interruption costs but a part of it
            assert float(str(argument(stage, "--every"))) <= float(str(argument(stage, "--minutes"))) / 4
    assert "training.export" in steps[-1]
    assert any("training.wav2sem" in stage for stage in steps) == (PLANS[profile].wav2sem > 0)


def test_sentences_are_learnt_once(tmp_path: Path) -> None:
    (tmp_path / "wav2sem").mkdir()
    (tmp_path / "wav2sem" / "wav2sem.pt").touch()
    steps = stages("cpu", tmp_path, tmp_path, tmp_path)
    assert not any("training.wav2sem" in stage for stage in steps)
    assert any("--wav2sem" in stage for stage in steps)
