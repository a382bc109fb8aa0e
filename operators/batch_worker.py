# SPDX-License-Identifier: GPL-3.0-or-later
"""A worker process of a batch: jobs come as JSON lines on stdin, results go as JSON lines to stdout.

Blender and the model are loaded once. When stdin ends the batch is over, or was killed: the process leaves at once,
in the middle of a job too, so that nobody writes behind the back of a run that is resumed.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
from collections.abc import Callable
from typing import IO, Any

MARK = "lipsync-result "  # Blender prints other lines


def serve(run: Callable[[dict[str, Any]], dict[str, Any]]) -> int:
    """Answer jobs with `run` until stdin ends, or nobody takes the answers; does not return then."""
    jobs: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(_own_stdin(), jobs), daemon=True).start()
    while True:
        line = run(json.loads(jobs.get()))
        try:
            sys.stdout.write(f"\n{MARK}{json.dumps(line)}\n")
            sys.stdout.flush()
        except OSError:  # the batch was killed, and `_read` has not met the end of stdin yet
            os._exit(0)


def _own_stdin() -> IO[str]:
    """What stdin was, for nobody else to touch.

    While a thread waits at a pipe, Windows lets all others wait who ask for anything of it, as libraries do when they
    are loaded; and a program that an add-on starts would take jobs from it.
    """
    own = os.fdopen(os.dup(sys.stdin.fileno()), encoding="utf-8")
    with open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), sys.stdin.fileno())
    return own


def _read(stdin: IO[str], jobs: queue.SimpleQueue[str]) -> None:
    for line in stdin:
        if line.strip():
            jobs.put(line)
    os._exit(0)
