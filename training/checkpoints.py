# SPDX-License-Identifier: GPL-3.0-or-later
"""Checkpoints on disk: written whole or not at all; read onto the CPU, and nothing in them runs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from .config import Config


def save(path: Path, state: dict[str, Any]) -> None:
    """Write beside `path` and rename."""
    part = path.with_suffix(".part")
    torch.save(state, part)
    os.replace(part, path)


def load(path: str | Path) -> dict[str, Any]:
    """What `save` was given."""
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def config_of(path: str | Path) -> Config:
    """What the network of a checkpoint was made with: arrays of another shape would be lost unseen."""
    return Config(**load(path)["config"])
