# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures shared by all tests: the toy model, made speech, and the shared reference folder where it is present."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import hypothesis
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

SHARED = ROOT.parent / "shared"

# How long an example takes tells only how busy the machine is.
hypothesis.settings.register_profile("unhurried", deadline=None)
hypothesis.settings.load_profile("unhurried")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The reference folder beside the project; tests that need it are skipped where it is absent."""
    if not (SHARED / "README.md").is_file():
        pytest.skip("the reference folder ../shared is not here")
    return SHARED


@pytest.fixture(scope="session")
def toy_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A toy model package; read only."""
    from toy_package import make_toy_package

    return make_toy_package(tmp_path_factory.mktemp("models") / "toy")


@pytest.fixture
def folder(toy_folder: Path, tmp_path: Path) -> Path:
    """A toy package that may be spoilt."""
    return Path(shutil.copytree(toy_folder, tmp_path / "toy"))


@pytest.fixture(scope="session")
def babble() -> np.ndarray:
    """Three seconds of something like syllables: noise with a 4 Hz envelope, then half a second of silence."""
    rng = np.random.default_rng(1)
    t = np.arange(48000) / 16000
    sound = 0.3 * rng.normal(size=48000) * np.abs(np.sin(2 * np.pi * 2 * t))
    sound[40000:] = 0
    return sound.clip(-1, 1).astype(np.float32)
