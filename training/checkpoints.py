# SPDX-License-Identifier: GPL-3.0-or-later
"""Checkpoints: whole or not at all on disk; networks on the CPU, of which nothing runs; and arguments of commands."""

from __future__ import annotations

import os
from argparse import ArgumentTypeError
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from .config import Config
from .encoder import Wav2Sem
from .geometry import lip_geometry
from .model import FaceFormer


def save(path: Path, state: dict[str, Any]) -> None:
    """Write beside `path` and rename. Raises OSError when that cannot be, as on a full disk; `path` stays as it was."""
    part = path.with_suffix(".part")
    try:
        torch.save(state, part)
        os.replace(part, path)
    except (OSError, RuntimeError) as error:  # PyTorch's archives tell of a full disk by an "unexpected pos"
        with suppress(OSError):
            part.unlink(missing_ok=True)  # half a checkpoint only takes room
        raise OSError(f"“{path}” cannot be written; make room on its disk, then the same command goes on.") from error


def load(path: str | Path) -> dict[str, Any]:
    """What `save` was given; raises TypeError for other things that torch has saved."""
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(state, dict):
        raise TypeError(f"“{path}” is no checkpoint.")
    return state


def load_network(path: str | Path) -> tuple[FaceFormer, tuple[str, ...]]:
    """The averaged network of a checkpoint of training.train, in evaluation mode, and its blendshape names."""
    state = load(path)
    network = FaceFormer(Config(**state["config"]), len(state["names"]))
    network.load_state_dict(state["average"])
    return network.eval(), tuple(state["names"])


def load_wav2sem(path: str | Path) -> Wav2Sem:
    """The branch of a checkpoint of training.wav2sem, in evaluation mode."""
    state = load(path)
    network = Wav2Sem(Config(**state["config"]))
    network.load_state_dict(state["network"])
    return network.eval()


def config_of(path: str | Path) -> Config:
    """What the network of a checkpoint was made with."""
    return Config(**load(path)["config"])


# The path of a checkpoint, for argparse: what is none is wrong usage, told in a sentence before work begins.


def argument(text: str) -> Path:
    """A checkpoint of whatever kind."""
    _checked(text)
    return Path(text)


def lips(text: str) -> Path:
    """One of a network that moves lips, as training.train writes it."""
    if not {"names", "average"} <= _checked(text).keys():
        raise ArgumentTypeError(f"“{text}” moves no lips; give the last.pt of a training.train")
    return Path(text)


def whole_lips(text: str) -> Path:
    """As `lips`, of one that is all of a network as this version makes it."""
    lips(text)
    with _told(text):
        lip_geometry(load_network(text)[1])
    return Path(text)


def branch(text: str) -> Path:
    """One of a sentence vector, as training.wav2sem writes it, and all of it."""
    state = _checked(text)
    if "network" not in state or "average" in state:
        raise ArgumentTypeError(f"“{text}” is no Wav2Sem; give the wav2sem.pt of a training.wav2sem")
    with _told(text):
        load_wav2sem(text)
    return Path(text)


def _checked(text: str) -> dict[str, Any]:
    """The checkpoint at `text`; raises ArgumentTypeError for what is none."""
    try:
        state = load(text)
        Config(**state["config"])
    except OSError as error:
        raise ArgumentTypeError(f"“{text}” cannot be read ({error.strerror or error})") from error
    except (EOFError, LookupError, RuntimeError, TypeError, UnpicklingError, ValueError) as error:
        raise ArgumentTypeError(f"“{text}” is no checkpoint; give the last.pt or wav2sem.pt of a training") from error
    return state


@contextmanager
def _told(text: str) -> Iterator[None]:
    """Where a network is made of the checkpoint at `text`; raises ArgumentTypeError when its parts do not fit."""
    try:
        yield
    except (AttributeError, ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ArgumentTypeError(
            f"“{text}” does not hold together ({reason}); was it made by another version?"
        ) from error
