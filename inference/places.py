# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a result goes: looked at before the work, and given the whole result or nothing after it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import OutputError

_LONGER = 8  # characters behind the name of what is written beside its place: a process's id


def check_place(path: Path, suffixes: tuple[str, ...]) -> None:
    """Say before the work, not after it, that a result has no place; raises OutputError."""
    if path.suffix.lower() not in suffixes:
        *most, last = suffixes
        raise OutputError(f"“{path}” does not end in {', '.join(most)} or {last}; choose such a name.")
    if os.path.isdir(path) or not os.path.isdir(path.parent) or not os.access(path.parent, os.W_OK | os.X_OK):
        raise OutputError(f"“{path}” cannot be written; choose a folder that exists and may be written to.")
    try:
        os.lstat(path.with_name(f".{path.name}.{'0' * _LONGER}"))
    except FileNotFoundError:
        pass  # it may be made
    except (OSError, ValueError) as error:
        raise OutputError(
            f"“{path.name}” is no name that the disk takes, or too long a one; choose another."
        ) from error


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A place beside `path` to write to, which is renamed to it in the end; nothing is left of it when that fails."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield beside
        os.replace(beside, path)
    finally:
        with suppress(OSError):  # Windows removes nothing that is open; what failed before counts
            beside.unlink(missing_ok=True)
