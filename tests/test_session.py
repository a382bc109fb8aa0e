# SPDX-License-Identifier: GPL-3.0-or-later
"""Devices: whatever is asked for, the model runs, and says in one sentence when it is elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inference import LipSyncModel, ModelError, Speech, session
from inference.session import Session


def test_a_device_that_is_not_here_falls_back(toy_folder: Path, babble: np.ndarray) -> None:
    model = LipSyncModel.load(toy_folder, "COREML" if "CUDA" in session.available_providers() else "CUDA")
    assert model.encoder.graph.provider == "CPU"
    assert model.encoder.note is not None and model.encoder.note.count(".") == 1
    here = LipSyncModel.load(toy_folder)
    assert here.encoder.note is None
    np.testing.assert_array_equal(model.run(Speech(babble)).weights, here.run(Speech(babble)).weights)


def test_auto_takes_the_first_offered(toy_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "available_providers", lambda: ("CPU",))
    assert Session(toy_folder / "wav2sem.onnx", "AUTO").provider == "CPU"


class Broken:
    """A device that loads a graph and fails with its first input."""

    def get_providers(self) -> list[str]:
        return [session.PROVIDERS["CUDA"]]

    def run(self, *_: Any) -> None:
        raise RuntimeError("out of memory\nand a long trace")


def test_a_device_that_fails_while_running_is_left(toy_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    create = Session._create
    monkeypatch.setattr(session, "available_providers", lambda: ("CUDA", "CPU"))
    monkeypatch.setattr(Session, "_create", lambda self: Broken() if self.provider == "CUDA" else create(self))
    graph = Session(toy_folder / "wav2sem.onnx", "AUTO")
    assert graph.provider == "CUDA" and graph.note is None
    speech = {"speech": np.ones((1, 640), np.float32)}
    np.testing.assert_array_equal(
        graph.run("semantic", speech), Session(toy_folder / "wav2sem.onnx").run("semantic", speech)
    )
    assert graph.provider == "CPU" and graph.note is not None and "out of memory" in graph.note
    assert "trace" not in graph.note


def test_wrong_input_on_the_cpu_is_one_error(toy_folder: Path) -> None:
    with pytest.raises(ModelError, match="cannot be run"):
        Session(toy_folder / "wav2sem.onnx").run("semantic", {"speech": np.ones((1, 1, 640), np.float32)})
