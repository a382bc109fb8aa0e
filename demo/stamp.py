# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the output is still what the inputs and the code would make: a digest of them, kept beside the output."""

from __future__ import annotations

import hashlib
from pathlib import Path

import bpy

NAME = ".made_from"
SOURCES = ("demo/*.py", "operators/*.py", "inference/*.py", "vendored_models/**/*")


def digest(root: Path, inputs: list[Path]) -> str:
    """SHA-256 over Blender's version, the project's sources and the input files, names and contents."""
    total = hashlib.sha256(bpy.app.version_string.encode())
    found = [path for pattern in SOURCES for path in sorted(root.glob(pattern)) if path.is_file()]
    for path in [*found, *inputs]:
        total.update(f"\0{path}\0".encode())
        if path.is_file():
            with path.open("rb") as file:
                total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()


def is_current(out: Path, outputs: list[Path], wanted: str) -> bool:
    """True when all outputs are there and were made from the same."""
    stamp = out / NAME
    return stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted and all(path.is_file() for path in outputs)


def write(out: Path, made: str) -> None:
    """Remember what the output was made from."""
    (out / NAME).write_text(made, encoding="utf-8")
