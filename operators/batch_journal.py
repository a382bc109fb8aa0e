# SPDX-License-Identifier: GPL-3.0-or-later
"""What a batch remembers so that a killed run can go on: one JSON line when a job starts and one when it is done.

Outputs are renamed into place whole, so a job whose output changed since it started is done even when the run was
killed before that could be written down.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from .batch_jobs import BatchJob


class Journal:
    """The file of a batch; a line that a kill cut off is passed over."""

    def __init__(self, path: Path, keep: bool) -> None:
        self._started: dict[str, Any] = {}
        self._done: dict[str, dict[str, Any]] = {}
        if keep and path.is_file():
            for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
                self._take_in(text)
        self._file = path.open("a" if keep else "w", encoding="utf-8")
        if keep:
            self._file.write("\n")  # ends a line that was cut off

    def finished(self, job: BatchJob) -> dict[str, Any] | None:
        """What was reported of `job` ({} where the run was killed just then) if its output is there, else None."""
        stamp = _stamp(job)
        if stamp is None:
            return None
        if job.key in self._done:
            return self._done[job.key]
        return {} if job.key in self._started and self._started[job.key] != stamp else None

    def start(self, job: BatchJob) -> None:
        """Remember what lies at the output's place before the job runs."""
        self._write({"started": job.key, "before": _stamp(job)})

    def done(self, job: BatchJob, line: dict[str, Any]) -> None:
        """Remember that the job is done and what it reported."""
        self._write({"done": job.key, "line": line})

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _write(self, entry: dict[str, Any]) -> None:
        self._file.write(json.dumps(entry, ensure_ascii=False) + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def _take_in(self, text: str) -> None:
        try:
            entry = json.loads(text)
            if "started" in entry:
                self._started[entry["started"]] = entry["before"]
                self._done.pop(entry["started"], None)
            else:
                self._done[entry["done"]] = dict(entry["line"])
        except (ValueError, KeyError, TypeError):
            return


def _stamp(job: BatchJob) -> list[int] | None:
    try:
        status = os.stat(job.output)
    except OSError:
        return None
    return [status.st_size, status.st_mtime_ns, status.st_ino]
