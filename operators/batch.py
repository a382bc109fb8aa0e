# SPDX-License-Identifier: GPL-3.0-or-later
"""Many jobs over several worker processes, each with its own Blender: a job that fails or crashes never stops the rest.

One JSON line per job on stdout, progress on stderr, a CSV report. Ctrl-C or SIGTERM lets running jobs finish, a second
one ends them.
"""

from __future__ import annotations

import csv
import glob
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from ..inference.console import tell
from ..inference.interrupts import heard
from ..inference.places import written_whole
from .batch_jobs import BatchJob, writers
from .batch_journal import Journal
from .batch_worker import MARK

REPORT = ["number", "status", "audio", "object", "output", "error", "keys", "first_frame", "last_frame"]
REPORT += ["speech_seconds", "compute_seconds", "write_seconds", "seconds", "moves", "cache", "sentence"]

# Workers fill the cores; the threads with which numpy's libraries wait for work would take them from other workers.
_ONE_THREAD = dict.fromkeys(("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"), "1")


class _Worker:
    """One process; `answers` receives (worker, line), line None when it ended."""

    def __init__(
        self, command: Sequence[str], answers: SimpleQueue[tuple[_Worker, dict[str, Any] | None]], lock: int
    ) -> None:
        # A group of its own: Ctrl-C in the terminal is for the batch, which lets jobs finish.
        group: dict[str, Any] = {"start_new_session": True, "pass_fds": (lock,)}
        if sys.platform == "win32":
            group = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            encoding="utf-8",
            errors="replace",  # Blender and its add-ons print what they like between our lines
            env=_ONE_THREAD | os.environ,
            **group,
        )
        self.job: BatchJob | None = None
        self.since = 0.0
        threading.Thread(target=self._listen, args=(answers,), daemon=True).start()

    def give(self, job: BatchJob) -> None:
        """Start a job."""
        self.job, self.since = job, time.monotonic()
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(asdict(job)) + "\n")
            self._process.stdin.flush()
        except OSError:
            self._process.kill()  # it ended; `_listen` tells

    def stop(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()

    def _listen(self, answers: SimpleQueue[tuple[_Worker, dict[str, Any] | None]]) -> None:
        assert self._process.stdout is not None
        with suppress(ValueError):  # half an answer: it was killed while it wrote, or something wrote in between
            for line in self._process.stdout:
                if line.startswith(MARK):
                    answers.put((self, json.loads(line.removeprefix(MARK))))
        answers.put((self, None))


class Batch:
    """Runs `jobs` with `workers` processes started by `command`; `report` is the CSV, the journal lies beside it."""

    def __init__(
        self, jobs: Sequence[BatchJob], command: Sequence[str], workers: int, report: Path, resume: bool
    ) -> None:
        self._jobs, self._command, self._report = jobs, command, report
        self._count = max(1, min(workers, len(jobs)))
        self._behind = writers(jobs)
        self._journal = Journal(report.with_name(report.name + ".journal"), resume)
        self._waiting: list[BatchJob] = []
        self._lines: dict[int, dict[str, Any]] = {}
        self._answers: SimpleQueue[tuple[_Worker, dict[str, Any] | None]] = SimpleQueue()
        self._workers: list[_Worker] = []
        self._interrupts = 0
        self._unsaid = False
        self._began = time.monotonic()
        self._ran = 0

    def run(self) -> int:
        """Run everything; returns 0 when all jobs are done, else 1."""
        self._waiting.extend(job for job in self._jobs if not self._settled(job))
        for job in self._waiting:
            _sweep(job)
        try:
            with heard(self._interrupt):
                self._work()
        finally:
            for worker in self._workers:
                worker.stop()
                if worker.job:
                    _sweep(worker.job)
            self._journal.close()
        for job in self._jobs:
            if job.number not in self._lines:
                self._finish(job, {"status": "not run", "error": "The batch was interrupted; run it with --resume."})
        return self._summarise()

    def _work(self) -> None:
        self._hand_out()
        while any(worker.job for worker in self._workers) and self._interrupts < 2:
            try:
                worker, line = self._answers.get(timeout=0.2)
            except Empty:
                continue
            job, worker.job = worker.job, None
            if line is None:
                self._workers.remove(worker)
                worker.stop()
                if job:
                    _sweep(job)
                line = {"status": "failed", "error": "Blender ended in the middle of this job; try it alone."}
            if job is None:
                continue
            self._ran += 1
            line["seconds"] = round(time.monotonic() - worker.since, 3)
            if line["status"] == "done":
                self._journal.done(job, line)
            else:
                self._journal.failed(job)
            self._finish(job, line)
            self._hand_out()

    def _hand_out(self) -> None:
        """Give jobs to workers that have none, new ones among them, while there are both."""
        while not self._interrupts:
            idle = next((worker for worker in self._workers if not worker.job), None)
            job = self._next() if idle or len(self._workers) < self._count else None
            if job is None:
                return
            try:
                worker = idle or _Worker(self._command, self._answers, self._journal.lock)
            except OSError as error:  # the system allows no more processes or files; those that there are go on
                if not self._workers:
                    why = f"Blender cannot be started ({error.strerror}); close other programs, go on with --resume."
                    self._finish(job, {"status": "failed", "error": why})
                    continue
                self._count = len(self._workers)
                self._waiting.insert(0, job)
                return
            if idle is None:
                self._workers.append(worker)
            self._journal.start(job)
            worker.give(job)

    def _next(self) -> BatchJob | None:
        """The first waiting job that can run now; None when all wait for what others are still writing."""
        for job in [*self._waiting]:
            if not self._must_wait(job):
                self._waiting.remove(job)
                if not self._settled(job):
                    return job
        return None

    def _must_wait(self, job: BatchJob) -> bool:
        """Whether what `job` opens has still to be written by another one."""
        writer = self._behind.get(job.number)
        return writer is not None and writer not in self._lines

    def _settled(self, job: BatchJob) -> bool:
        """Whether `job` needs no run, or can have none; what it opens may have to be written first, to know."""
        writer = self._behind.get(job.number)
        if job.problem:
            self._finish(job, {"status": "failed", "error": job.problem})
        elif self._must_wait(job):
            return False
        elif writer is not None and self._lines[writer]["status"] == "failed":
            error = f"It opens what job {writer} should have written, which failed; mend that one."
            self._finish(job, {"status": "failed", "error": error})
        elif (earlier := self._journal.finished(job)) is not None:
            self._finish(job, earlier | {"status": "already done"})
        return job.number in self._lines

    def _finish(self, job: BatchJob, line: dict[str, Any]) -> None:
        facts = {"number": job.number, "audio": job.audio, "object": job.object, "output": job.output}
        self._lines[job.number] = line = facts | line
        self._unsaid |= not tell(json.dumps(line | {"ok": line["status"] in ("done", "already done")}), sys.stdout)
        if line["status"] == "failed":
            tell(f"Error: job {job.number}: {line['error']}", sys.stderr)
        if self._ran:
            left = (time.monotonic() - self._began) / self._ran * (len(self._jobs) - len(self._lines))
            tell(f"{len(self._lines)}/{len(self._jobs)} jobs, {_clock(left)} left", sys.stderr)

    def _write_report(self) -> str:
        """Write the CSV; returns why that cannot be done, one sentence, or ""."""
        try:
            # Names of files need be no text.
            form: dict[str, Any] = {"encoding": "utf-8", "errors": "backslashreplace", "newline": ""}
            with written_whole(self._report) as beside, beside.open("w", **form) as file:
                writer = csv.DictWriter(file, REPORT, extrasaction="ignore")
                writer.writeheader()
                writer.writerows(self._lines[job.number] for job in self._jobs)
        except OSError as error:
            why = f"The report “{self._report}” cannot be written ({error.strerror})"
            return f"{why}; what is there is older, --resume writes it anew."
        return ""

    def _summarise(self) -> int:
        """Write the report and, on stderr, what it comes to; returns the exit code."""
        unwritten = self._write_report()
        unsaid = "Lines of jobs could not be written to stdout; the report has them." if self._unsaid else ""
        problems = [problem for problem in (self._journal.problem, unwritten, unsaid) if problem]
        for problem in problems:
            tell(f"Error: {problem}", sys.stderr)
        counts = Counter(line["status"] for line in self._lines.values())
        words = ", ".join(f"{count} {status}" for status, count in counts.items())
        still = sum(line.get("moves") is False for line in self._lines.values())
        mouths = f" In {still} the mouth does not move; the report says why." if still else ""
        place = "" if unwritten else f" Report: {self._report}"
        tell(f"{words}, in {_clock(time.monotonic() - self._began)}.{mouths}{place}", sys.stderr)
        return 1 if problems or counts["failed"] + counts["not run"] else 0

    def _interrupt(self, *_: Any) -> None:
        self._interrupts += 1
        tell("Interrupted; finishing the running jobs. Once more ends them.", sys.stderr)


def _sweep(job: BatchJob) -> None:
    """Remove what a killed run or worker left half-written beside the output (see output.write)."""
    place = Path(job.output)
    # Blender itself writes to a name that ends in @ and renames.
    left = re.compile(rf"\.{re.escape(place.stem)}\.\d+{re.escape(place.suffix)}@?")
    with suppress(OSError):  # what cannot be removed stops no job
        for path in place.parent.glob(f".{glob.escape(place.stem)}.*"):
            if left.fullmatch(path.name):
                path.unlink(missing_ok=True)


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}"
