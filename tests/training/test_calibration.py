# SPDX-License-Identifier: GPL-3.0-or-later
"""What a package does about a network that holds back."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from training.batches import rest_pose  # noqa: E402
from training.calibration import GAINS, LEAST, calibrate  # noqa: E402
from training.corpus.clips import watched  # noqa: E402
from training.packing import Clip, Corpus, faces_of  # noqa: E402
from training.targets import NAMES  # noqa: E402

PHONES = [(0.0, 0.3, "SIL"), (0.3, 0.6, "AA"), (0.6, 0.7, "B"), (0.7, 1.3, "AE"), (1.3, 1.6, "SIL")]


def clip(name: str) -> Clip:
    about = {"id": name, "source": "real:x", "text": "", "language": "en", "split": "dev"}
    return Clip(about, np.ones(80 * 320, np.int16), np.zeros(80, np.int8), faces_of(name, PHONES, 80), 1)


CLIPS = [clip(name) for name in map(str, range(40)) if watched(name, "dev", "en")]
CORPUS = Corpus(CLIPS, tuple(NAMES), "key")


class Hesitant(torch.nn.Module):
    """Moves by a part of what the rules do, around the resting face."""

    def __init__(self, part: float) -> None:
        super().__init__()
        self.part = part
        self.faces = iter([torch.tensor(np.array(each.faces[0, -80:], np.float32)) for each in CLIPS])

    def forward(self, speech: torch.Tensor, style: torch.Tensor, vector: object) -> SimpleNamespace:
        rest = torch.tensor(rest_pose(), dtype=torch.float32)
        # Every clip says the same, so that it does not matter whose face comes first.
        return SimpleNamespace(weights=[(rest + self.part * (next(self.faces) - rest))[None]])


def test_a_hesitant_network_is_made_good() -> None:
    """It gets a larger gain, and the same thresholds for what it says with that."""
    bold, hesitant = calibrate(Hesitant(0.9), CORPUS, None), calibrate(Hesitant(0.7), CORPUS, None)
    assert bold.gain == pytest.approx(0.975 / 0.9, abs=0.03)
    assert hesitant.gain == pytest.approx(bold.gain * 9 / 7, abs=0.03)
    assert hesitant.certain == pytest.approx(bold.certain, rel=0.1) and 0 < bold.begins < bold.certain < 0.1


def test_a_network_that_knows_nothing_is_not_blown_up() -> None:
    found = calibrate(Hesitant(0.0), CORPUS, None)
    assert found.gain == GAINS[1] and 0 < found.begins < found.certain < LEAST


def test_a_corpus_without_development_clips_is_told() -> None:
    with pytest.raises(ValueError, match="no development clips"):
        calibrate(Hesitant(1.0), Corpus([], tuple(NAMES), "key"), None)
