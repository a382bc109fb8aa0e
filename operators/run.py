# SPDX-License-Identifier: GPL-3.0-or-later
"""Lip syncs one after another: what the buttons Generate and Generate All have in common, without any interface.

All that touches bpy happens in `Run.advance`, in slices short enough for a timer; the network runs on a worker
between them. Nothing of bpy is held from one slice to the next, since the user may undo in between.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from time import monotonic

from ..inference import Cancelled, LipSyncError
from . import bake, lipsync_task
from .bake import Report
from .job import Job
from .lipsync_task import Task

CANCELLED = "Cancelled; nothing was changed."


@dataclass
class Item:
    """One lip sync to be made, and what became of it.

    label: what the interface calls it. prepare: describes the bake when its turn has come; raises LipSyncError.
    ended: told on the main thread, once, when the item is over. undone: whether the user took back what was made.
    key: which entry of the queue it is, "" for none.
    """

    label: str
    prepare: Callable[[], Task]
    ended: Callable[[Item], None] = lambda item: None
    undone: Callable[[], bool] = lambda: False
    key: str = ""
    report: Report | None = None
    error: LipSyncError | None = None

    @property
    def over(self) -> bool:
        """Whether its turn has come and gone."""
        return self.report is not None or self.error is not None

    @property
    def cancelled(self) -> bool:
        """Whether it ended because the user wanted so."""
        return isinstance(self.error, Cancelled)


class Run:
    """Runs `items` in order; one that fails never stops the rest, a cancel leaves the rest as they are."""

    def __init__(self, items: Sequence[Item]) -> None:
        self.items = items
        self._index = 0
        self._job: Job | None = None
        self._stop = False
        self._began = monotonic()
        self._slices = self._work()

    def advance(self) -> bool:
        """Do the next slice of work on the main thread; true when there is none left."""
        return next(self._slices, True)

    def through(self, tick: Callable[[], None]) -> None:
        """Run to the end and wait for it; `tick` is called again and again."""
        while not self.advance():
            if self._job is not None:
                self._job.join(0.02)
            tick()

    def request_stop(self) -> None:
        """Ask it to end soon: the present item changes nothing, those after it are not begun."""
        self._stop = True
        if self._job is not None:
            self._job.request_stop()

    def close(self) -> None:
        """End it at once."""
        self.request_stop()
        self._slices.close()

    @property
    def current(self) -> Item | None:
        """The item that is being worked on."""
        return self.items[self._index] if self._index < len(self.items) else None

    @property
    def remaining(self) -> int:
        """How many items have not been begun."""
        return max(0, len(self.items) - self._index - 1)

    @property
    def progress(self) -> float:
        """Part of the whole run that is done, 0…1."""
        over = sum(item.over for item in self.items)
        return (over + (self._job.progress if self._job else 0.0)) / max(1, len(self.items))

    @property
    def stage(self) -> str:
        """What is being done, in words."""
        if self._stop:
            return "Cancelling"
        item = self.current
        stage = self._job.stage if self._job else "Done" if item is not None and item.over else "Starting"
        if len(self.items) == 1 or item is None:
            return stage
        return f"{item.label} ({self._index + 1} of {len(self.items)}): {stage}"

    @property
    def seconds_left(self) -> float:
        """Estimate for all items, the coming ones taken to be as long as those before; negative while unknown."""
        left = self._job.seconds_left if self._job else -1.0
        if left < 0:
            return -1.0
        return left + self.remaining * (monotonic() - self._began + left) / (self._index + 1)

    def _work(self) -> Generator[bool]:
        """Yields false after each slice."""
        for index, item in enumerate(self.items):
            self._index = index
            try:
                task = item.prepare()
                yield False
                self._job = Job(task.compute, lipsync_task.LOADING)
                self._job.start()
                yield False
                while not self._job.poll():
                    yield False
                if self._stop:
                    raise Cancelled(CANCELLED)
                item.report = yield from bake.slices(task, self._job.result())
            except LipSyncError as error:
                item.error = error
            except Exception as error:  # a mistake of ours is this item's failure, not the end of the others
                traceback.print_exc()
                item.error = LipSyncError(
                    f"This should not happen ({type(error).__name__}: {error}); send Copy Report to who maintains this."
                )
            finally:
                if self._job is not None:
                    self._job.finish()
                self._job = None
            item.ended(item)
            if self._stop:
                return
            yield False
        self._index = len(self.items)


_current: Run | None = None


def start(items: Sequence[Item]) -> Run:
    """Begin the session's one run."""
    global _current
    if _current is not None:
        raise RuntimeError("a lip sync is being generated")
    _current = Run(items)
    return _current


def current() -> Run | None:
    """The run that an operator still looks after, if any."""
    return _current


def finish() -> None:
    """Forget the current run, ending it if it goes on."""
    global _current
    run, _current = _current, None
    if run is not None:
        run.close()
