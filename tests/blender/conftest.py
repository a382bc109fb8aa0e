# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of the Blender code, in the bpy wheel: the package is registered once, every test starts from an empty file."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

try:
    import bpy
except ImportError:
    bpy = None
    collect_ignore_glob = ["test_*.py"]
else:
    import bake

    bake.load_package()


@pytest.fixture(scope="session", autouse=True)
def registered() -> Iterator[None]:
    """The extension, enabled."""
    import wav2sem_lipsync

    wav2sem_lipsync.register()
    yield
    wav2sem_lipsync.unregister()


@pytest.fixture(autouse=True)
def empty_file(registered: None) -> None:
    """Each test starts from nothing."""
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    state = bpy.context.window_manager.wav2sem_job
    for known in state.bl_rna.properties:
        if not known.is_readonly:
            state.property_unset(known.identifier)


@pytest.fixture(autouse=True)
def toy_model(toy_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The toy package is the only model there is."""
    from wav2sem_lipsync.inference import ModelPackage
    from wav2sem_lipsync.operators import model_list

    monkeypatch.setattr(model_list, "packages", lambda context: [ModelPackage.read(toy_folder)])
    return toy_folder


@pytest.fixture(scope="session")
def speech_file(babble: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three seconds of something like syllables, 16 kHz."""
    import soundfile

    path = tmp_path_factory.mktemp("speech") / "babble.wav"
    soundfile.write(path, babble, 16000)
    return path


@pytest.fixture
def settings(speech_file: Path) -> Any:
    """The scene's settings with the speech chosen."""
    settings = bpy.context.scene.wav2sem_lipsync
    settings.audio_path = str(speech_file)
    return settings


@pytest.fixture(scope="session")
def flame(shared: Path) -> dict[str, np.ndarray]:
    """FLAME's template, (5023, 3) metres, and its triangles; from the reference folder."""
    with np.load(shared / "flame" / "flame2023open_subset.npz", allow_pickle=False) as data:
        return {"vertices": data["v_template"], "faces": data["faces"], "identities": data["identity_basis"]}


_status = 0


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Remember how it went."""
    global _status
    _status = int(exitstatus)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure() -> None:
    """Leave at once: the bpy wheel may hang or crash while Python shuts down, and take the exit code with it."""
    if bpy is not None:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(_status)
