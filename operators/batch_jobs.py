# SPDX-License-Identifier: GPL-3.0-or-later
"""The jobs of a batch: read from .csv, .json or a folder of sound files. Knows nothing of bpy."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import os
import re
import reprlib
import sys
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from itertools import zip_longest
from pathlib import Path
from string import Formatter
from typing import Any

from .frames import FIRST_FRAME, LAST_FRAME

SOUNDS = frozenset(f".{name}" for name in ["wav", "flac", "ogg", "opus", "mp3", "aiff", "aif", "caf", "w64", "au"])
# What each is by default, at least and at most.
_NUMBERS = {"start_frame": (1.0, FIRST_FRAME, LAST_FRAME), "tolerance": (0.0, 0, 1), "within": (0.1, 0.001, 100)}
_MODES = ("arkit", "exact", "cache")
_CHOICES = ("nla", "slot")
_TRUE, _FALSE = {"1", "true", "yes"}, {"", "0", "false", "no"}
_PATHS = ("blend", "audio", "output", "model")


class JobListError(ValueError):
    """The list of jobs cannot be used; str() is one plain sentence."""


@dataclass(frozen=True)
class BatchJob:
    """One line of the list, paths absolute. `number` counts from 1; `problem` says why it cannot run ("": it can)."""

    number: int
    blend: str = ""
    audio: str = ""
    object: str = ""
    output: str = ""
    model: str = ""
    style: str = ""
    start_frame: float = 1.0
    tolerance: float = 0.0
    nla: bool = False
    slot: bool = False
    mode: str = "arkit"
    within: float = 0.1
    problem: str = ""

    @property
    def key(self) -> str:
        """Changes when the job, or a file that it reads, changes."""
        read = [Path(self.blend), Path(self.audio), Path(self.model, "model.json")]
        facts = {name: value for name, value in asdict(self).items() if name not in ("number", "problem")}
        return hashlib.sha256(json.dumps([facts, [*map(_stamp, read)]], sort_keys=True).encode()).hexdigest()


COLUMNS = tuple(field.name for field in fields(BatchJob) if field.name not in ("number", "problem"))


def read_jobs(source: str, defaults: Mapping[str, Any]) -> list[BatchJob]:
    """Jobs of a .csv or .json list or of a folder; `defaults` hold for what a line leaves empty.

    `output` may contain {name} (the sound's file name without suffix), {folder} (its folder within the batch's) and
    {number}. Paths in a list are relative to the list; in `defaults`, to the current folder. A bad line becomes a job
    with a `problem`; JobListError when there is no list at all.
    """
    path = Path(source).absolute()
    lines: list[dict[str | None, Any]]
    if os.path.isdir(path):
        folder = path
        lines = [
            {"audio": str(file)}
            for file in sorted(path.rglob("*"))
            # macOS puts a file's attributes beside it under such a name where a disk has no place for them.
            if file.suffix.lower() in SOUNDS and not file.name.startswith("._") and os.path.isfile(file)
        ]
    else:
        folder, lines = path.parent, _read_list(path)
    if not lines:
        raise JobListError(f"There are no jobs in “{path}”.")
    unknown = sorted({name for line in lines for name in line if name is not None} - set(COLUMNS))
    if unknown:
        raise JobListError(f"“{path.name}” has a column {unknown[0]!r}; known ones are {', '.join(COLUMNS)}.")
    jobs: list[BatchJob] = []
    places: dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        job = _job(number, line, defaults, folder)
        first = number if job.problem else places.setdefault(place(job.output), number)
        if first != number:
            job = replace(job, problem=f"Job {first} writes “{job.output}” too; choose another output.")
        jobs.append(job)
    readers: dict[str, list[int]] = {}
    for job in jobs:
        for file in _read_places(job.blend, job.audio) if job.output else ():
            readers.setdefault(file, []).append(job.number)
    return [_sparing(job, readers.get(place(job.output), [])) for job in jobs]


def _sparing(job: BatchJob, readers: Sequence[int]) -> BatchJob:
    """`job` with a problem if others would find another file where they, or a resumed run, read what it writes.

    readers: numbers of the jobs that read it, rising. Those behind it may, and so go on from there; and it may write
    over its own file if nobody else reads that.
    """
    others = [number for number in readers if number != job.number]
    if job.problem or not others or (job.number not in readers and others[0] > job.number):
        return job
    problem = f"It would write over “{job.output}”, which job {others[0]} reads; choose another output."
    return replace(job, problem=problem)


def writers(jobs: Sequence[BatchJob]) -> dict[int, int]:
    """The number of the job that writes what another one, behind it, opens: by the number of that other one."""
    written: dict[str, int] = {}
    found: dict[int, int] = {}
    for job in jobs:
        if not job.problem:
            for opened in _read_places(job.blend) & written.keys():
                found[job.number] = written[opened]
            written[place(job.output)] = job.number
    return found


def place(path: str) -> str:
    """The same for two ways to write the same path, through links to folders too.

    A link to a file is a place of its own: what is written there replaces the link, not what it leads to.
    """
    folder, name = os.path.split(path)
    spelt = os.path.join(os.path.realpath(folder), name)
    if sys.platform == "darwin":  # its disks take no notice of case, nor of how an accent is composed
        return unicodedata.normalize("NFC", spelt).casefold()
    return os.path.normcase(spelt)


def _read_places(*files: str) -> set[str]:
    """The places that decide what is found at `files`: their own and, of links, those that they lead to."""
    return {place(path) for file in files if file for path in (file, os.path.realpath(file))}


def checked_number(name: str, value: Any) -> float:
    """What text or a number says for the column `name`; ValueError, one sentence, when it is out of range."""
    _, least, most = _NUMBERS[name]
    try:
        found = float(value)
    except (ValueError, OverflowError):
        found = math.nan
    if not least <= found <= most:
        raise ValueError(f"{reprlib.repr(value)} for {name} is no number from {least} to {most}.")
    return found


def choose_numbers(text: str, count: int) -> set[int]:
    """Job numbers of a range such as “1-20,33”; JobListError when it is none or lies outside 1…count."""
    try:
        chosen: set[int] = set()
        for part in text.split(","):
            first, dash, last = part.partition("-")
            numbers = range(int(first), int(last if dash else first) + 1)
            if not numbers or numbers[0] < 1 or numbers[-1] > count:
                raise ValueError
            chosen.update(numbers)
    except ValueError as error:
        raise JobListError(f"{text!r} is no range within jobs 1-{count}; write one such as 1-20,33.") from error
    return chosen


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def _read_list(path: Path) -> list[dict[str | None, Any]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise JobListError(f"The job list “{path}” cannot be read; give a .csv, a .json or a folder.") from error
    except UnicodeDecodeError as error:
        raise JobListError(f"“{path.name}” is no text in UTF-8; save it as “CSV UTF-8” or JSON.") from error
    if path.suffix.lower() == ".json":
        try:
            lines = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise JobListError(f"“{path.name}” is no JSON ({error}); are backslashes in it doubled?") from error
        if not isinstance(lines, list) or not all(isinstance(line, dict) for line in lines):
            raise JobListError(f"“{path.name}” must hold a list of objects, one per job.")
        return lines
    try:
        heading, *rows = [*csv.reader(io.StringIO(text, newline=""), strict=True)] or [[]]
    except csv.Error as error:
        raise JobListError(f"“{path.name}” is no CSV ({error}); is a quotation mark never closed?") from error
    names = [name.strip() for name in heading]
    if len(names) == 1 and re.search("[;\t]", names[0]):  # as a spreadsheet writes it where a comma is for decimals
        raise JobListError(f"“{path.name}” has semicolons or tabs between its columns; save it with commas.")
    twice = next((name for name in names if name and names.count(name) > 1), None)
    if twice is not None:
        raise JobListError(f"“{path.name}” has two columns {twice!r}; keep one of them.")
    return [_cells(names, row) for row in rows if any(row)]


def _cells(names: list[str], row: list[str]) -> dict[str | None, Any]:
    """Cells by the names above them; what stands under no name, as after an unquoted comma, is called None."""
    return {name or None: cell for name, cell in zip_longest(names, row) if name or cell}


def _job(number: int, line: Mapping[str | None, Any], defaults: Mapping[str, Any], folder: Path) -> BatchJob:
    """One job; whatever is wrong with its values becomes its problem."""
    given = {name: value for name, value in line.items() if name is not None and value not in (None, "")}
    values: dict[str, Any] = {name: value for name, value in defaults.items() if value is not None} | given
    try:
        if None in line:
            raise ValueError("It has more cells than the heading; put cells with commas in quotes.")
        for name, value in given.items():
            _check_text(name, value)
        for name, (usual, *_) in _NUMBERS.items():
            values[name] = checked_number(name, values.get(name, usual))
        values["mode"] = str(values.get("mode", _MODES[0])).lower()
        if values["mode"] not in _MODES:
            raise ValueError(f"{values['mode']!r} is no mode; choose {', '.join(_MODES)}.")
        for name in _CHOICES:
            word = str(values.get(name, "")).lower()
            if word not in _TRUE | _FALSE:
                raise ValueError(f"{values[name]!r} for {name} is neither true nor false.")
            values[name] = word in _TRUE
        if values["nla"] and values["slot"]:
            raise ValueError("nla and slot exclude each other.")
        for name in _PATHS:
            base = str(folder if name in given else Path.cwd())
            if name == "output":  # fields are what the job says, not what a folder is called
                base = base.replace("{", "{{").replace("}", "}}")
            values[name] = str(Path(base, str(values[name]))) if values.get(name) else ""
        sound, top = Path(values["audio"]), os.path.abspath(folder)
        within = Path(os.path.abspath(sound.parent))
        inside = within.relative_to(top) if within.is_relative_to(top) else Path()
        values["output"] = _filled(values["output"], name=sound.stem, folder=inside, number=number)
    except ValueError as error:
        return BatchJob(number, audio=str(line.get("audio", "")), problem=f"The job is not well written: {error}")
    missing = [name for name in ("blend", "audio", "object", "output") if not values.get(name)]
    values |= {name: str(values.get(name, "")) for name in ("object", "style")}
    return BatchJob(number, **values, problem=f"The job has no {missing[0]}." if missing else "")


def _check_text(name: str, value: Any) -> None:
    """ValueError for what JSON can say and the system cannot spell."""
    if isinstance(value, list | dict):
        raise ValueError(f"{name} is neither text nor a number.")
    try:
        spelt = os.fsencode(str(value))
    except UnicodeEncodeError:
        spelt = b"\0"
    if b"\0" in spelt:
        raise ValueError(f"{name} holds characters that no name can hold.")


def _filled(template: str, **parts: Any) -> str:
    """`template` with its fields filled in; ValueError for a field that is more than a bare name of `parts`."""
    for _, name, form, conversion in Formatter().parse(template):
        if name is not None and (name not in parts or form or conversion):
            raise ValueError(f"Of fields its output may hold {{{'}, {'.join(parts)}}}, exactly so.")
    return template.format(**parts)
