# SPDX-License-Identifier: GPL-3.0-or-later
"""Checkpoints of small networks, as a training leaves them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from training.config import Config
from training.encoder import Wav2Sem
from training.model import FaceFormer
from training.targets import NAMES

SMALL = Config(hidden=32, layers=1, heads=2, decoder=32, semantic=0)


def lips(**changes: Any) -> dict[str, Any]:
    """Of a network that moves lips, but for `changes` of its configuration or of its parts."""
    network = FaceFormer(SMALL, len(NAMES)).state_dict()
    parts = {key: changes.pop(key) for key in ("names", "average") if key in changes}
    return {"config": SMALL.to_dict() | changes, "names": list(NAMES), "average": network, "network": network} | parts


def branch(**changes: Any) -> dict[str, Any]:
    """Of a sentence vector, but for `changes` of its configuration."""
    config = replace(SMALL, semantic=8)
    return {"config": config.to_dict() | changes, "network": Wav2Sem(config).state_dict()}
