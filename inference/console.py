# SPDX-License-Identifier: GPL-3.0-or-later
"""Lines for whoever called: work does not stop because nobody can take them any longer."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TextIO


def tell(text: str, stream: TextIO | None) -> bool:
    """Write a line at once; False where that cannot be, on a full disk or to a terminal or reader that has gone."""
    if stream is None:  # it was closed before Python began
        return False
    try:
        print(text, file=stream, flush=True)
    except (OSError, ValueError, RuntimeError):  # the last in a signal's handler, in the midst of another line
        return False
    return True


def hush(*streams: TextIO | None) -> None:
    """Let nothing be said of what `streams` still hold and cannot write: Python tries once more when it ends."""
    for stream in filter(None, streams):
        try:
            stream.flush()
        except (OSError, ValueError):
            with suppress(OSError, ValueError):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, stream.fileno())
                os.close(nowhere)
