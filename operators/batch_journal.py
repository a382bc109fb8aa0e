# SPDX-License-Identifier: GPL-3.0-or-later
"""What a batch remembers so that a killed run can go on: one JSON line when a job starts and one when it ends.

Outputs are renamed into place whole, so a job whose output changed since it started is done even when the run was
killed before that could be written down. The file is locked while a batch or one of its workers lives: a run that is
resumed waits for workers that the kill left behind, and two runs cannot share a journal.
"""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from ..inference.console import tell
from .batch_jobs import BatchJob, place

try:
    import fcntl
except ImportError:  # Windows: runs are not kept apart there
    fcntl = None  # type: ignore[assignment]

_PATIENCE = 120.0  # seconds; a worker that is left behind ends when it leaves Blender's code, as when it has saved


class Journal:
    """The file of a batch; a line that a kill cut off is passed over. BlockingIOError when another run holds it.

    A full disk does not stop the batch: `problem` says then, in one sentence, that the journal lacks something.
    """

    def __init__(self, path: Path, keep: bool, patience: float = _PATIENCE) -> None:
        self.problem = ""
        self._path = path
        # By output, which several jobs may have written when the list has changed: who did last, and who began since.
        self._done: dict[str, tuple[str, dict[str, Any]]] = {}
        self._begun: dict[str, list[tuple[str, Any]]] = {}
        self._keys: dict[int, str] = {}  # of the jobs that run, as they began
        self._file = path.open("a", encoding="utf-8")
        _lock(self._file, patience)
        if keep:
            for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
                self._take_in(text)
            self._file.write("\n")  # ends a line that was cut off
        else:
            self._file.truncate(0)

    @property
    def lock(self) -> int:
        """The file descriptor that holds the lock, also for a process that inherits it."""
        return self._file.fileno()

    def finished(self, job: BatchJob) -> dict[str, Any] | None:
        """What was reported of `job` ({} where the run was killed just then) if its output is there, else None.

        A vertex cache that it plays belongs to the output.
        """
        stamp = _stamp(job)
        if stamp is None:
            return None
        key, line = self._done.get(place(job.output), ("", {}))
        begun = self._begun.get(place(job.output), [])
        if key == job.key and all(before == stamp for _, before in begun):
            return line if os.path.isfile(line.get("cache") or job.output) else None
        return {} if begun and begun[-1][0] == job.key and begun[-1][1] != stamp else None

    def start(self, job: BatchJob) -> None:
        """Remember what lies at the output's place before the job runs."""
        self._keys[job.number] = job.key
        self._write({"started": self._keys[job.number], "output": place(job.output), "before": _stamp(job)})

    def done(self, job: BatchJob, line: dict[str, Any]) -> None:
        """Remember that the job is done and what it reported; it was done with the files as they were when it began.

        Only a job that writes over its own .blend is known by what lies there now.
        """
        begun, output = self._keys.pop(job.number, None), place(job.output)
        key = job.key if begun is None or place(job.blend) == output else begun
        self._write({"done": key, "output": output, "line": line})

    def failed(self, job: BatchJob) -> None:
        """Remember that whatever comes to lie at the output's place is not the job's."""
        self._write({"failed": job.key, "output": place(job.output)})

    def close(self) -> None:
        """Close the file."""
        with suppress(OSError):  # `problem` is set already where something could not be written
            self._file.close()

    def _write(self, entry: dict[str, Any]) -> None:
        try:
            self._file.write(json.dumps(entry) + "\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            self.problem = f"The journal “{self._path}” cannot be written ({error.strerror}); --resume may repeat jobs."

    def _take_in(self, text: str) -> None:
        try:
            entry = json.loads(text)
            begun = self._begun.setdefault(entry["output"], [])
            if "started" in entry:
                begun.append((entry["started"], entry["before"]))
            elif "failed" in entry:
                del begun[-1:]
            else:
                self._done[entry["output"]] = entry["done"], dict(entry["line"])
                begun.clear()
        except (ValueError, KeyError, TypeError):
            return


def _lock(file: IO[str], patience: float) -> None:
    """Hold `file` alone; waits for `patience` seconds, then raises BlockingIOError."""
    began = last = time.monotonic()
    while fcntl is not None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError as error:
            if last == began:
                tell("Waiting for an earlier run to end.", sys.stderr)
            last = time.monotonic()
            if last > began + patience:
                file.close()
                raise BlockingIOError(error.errno, "another batch works with it") from error
            time.sleep(0.1)
        except OSError:  # a file system without locks
            return


def _stamp(job: BatchJob) -> list[int] | None:
    try:
        status = os.stat(job.output)
    except OSError:
        return None
    return [status.st_size, status.st_mtime_ns, status.st_ino]
