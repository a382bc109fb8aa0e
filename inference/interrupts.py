# SPDX-License-Identifier: GPL-3.0-or-later
"""Being asked to end: with Ctrl-C, or as a farm does that takes a task back, and a computer that is shut down."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_KINDS: tuple[signal.Signals, ...] = (signal.SIGINT, signal.SIGTERM)
if sys.platform == "win32":
    _KINDS += (signal.SIGBREAK,)  # what a farm sends there


@contextmanager
def heard(handler: Callable[[int, FrameType | None], Any] = signal.default_int_handler) -> Iterator[None]:
    """Whoever asks this process to end calls `handler`, or raises KeyboardInterrupt; afterwards all is as before.

    For the main thread alone.
    """
    before = [signal.signal(kind, handler) for kind in _KINDS]
    try:
        yield
    finally:
        for kind, earlier in zip(_KINDS, before, strict=True):
            # Blender sets handlers of its own, which Python knows as None and cannot set again.
            signal.signal(kind, signal.SIG_DFL if earlier is None else earlier)
