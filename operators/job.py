# SPDX-License-Identifier: GPL-3.0-or-later
"""One piece of work on a thread of its own.

Threading rules:
- the worker never touches bpy, nor an object that came from it; it gets arrays and frozen dataclasses;
- it talks through `progress` and its result alone; the main thread asks `poll` from a timer;
- an exception crosses over as a value and is raised by `result` on the main thread;
- the network looks ten times a second whether it is still wanted: that bounds how long a cancel takes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any

Progress = Callable[[float, str], None]
Work = Callable[[Progress, Callable[[], bool]], Any]


@dataclass
class Job:
    """Runs `work(progress, cancelled)`; from the fraction `steady_from` on its progress is fit for estimates."""

    work: Work
    steady_from: float = 0.0
    _messages: SimpleQueue[tuple[float, str]] = field(default_factory=SimpleQueue)
    _stop: threading.Event = field(default_factory=threading.Event)
    _result: Any = None
    _error: BaseException | None = None
    _steady_since: tuple[float, float] | None = None  # time (s) and progress of the first steady message
    _thread: threading.Thread | None = None
    progress: float = 0.0
    stage: str = "Starting"

    def start(self) -> None:
        """Start the worker."""
        self._thread = threading.Thread(target=self._run, name="lip sync", daemon=True)
        self._thread.start()

    def poll(self) -> bool:
        """Take in what the worker said; true when it has ended."""
        ended = self._thread is None or not self._thread.is_alive()
        while True:
            try:
                self.progress, self.stage = self._messages.get_nowait()
            except Empty:
                return ended
            if self._steady_since is None and self.progress >= self.steady_from:
                self._steady_since = time.monotonic(), self.progress

    def result(self) -> Any:
        """What the work returned; raises what it raised."""
        if self._error is not None:
            raise self._error
        return self._result

    def request_stop(self) -> None:
        """Ask the work to end soon; `result` will then most likely raise Cancelled."""
        self._stop.set()

    @property
    def seconds_left(self) -> float:
        """Estimate from the steady progress so far; negative while there is too little of it."""
        since, first = self._steady_since or (0.0, 1.0)
        done = self.progress - first
        return (time.monotonic() - since) * (1 - self.progress) / done if done > 0.01 else -1.0

    def join(self, timeout: float) -> None:
        """Wait for the worker, at most `timeout` seconds."""
        if self._thread is not None:
            self._thread.join(timeout)

    def finish(self) -> None:
        """Stop the work if it still runs, and wait for it a while."""
        self.request_stop()
        self.join(5.0)

    def _run(self) -> None:
        try:
            self._result = self.work(lambda fraction, stage: self._messages.put((fraction, stage)), self._stop.is_set)
        except BaseException as error:
            self._error = error
