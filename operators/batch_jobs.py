# SPDX-License-Identifier: GPL-3.0-or-later
"""The jobs of a batch: read from .csv, .json or a folder of sound files. Knows nothing of bpy."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

SOUNDS = frozenset(f".{name}" for name in ["wav", "flac", "ogg", "opus", "mp3", "aiff", "aif", "caf", "w64", "au"])
_NUMBERS = {"start_frame": 1.0, "tolerance": 0.0, "within": 0.1}
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
        stamps = [(path.stat().st_size, path.stat().st_mtime_ns) if path.is_file() else None for path in read]
        facts = {name: value for name, value in asdict(self).items() if name not in ("number", "problem")}
        return hashlib.sha256(json.dumps([facts, stamps], sort_keys=True).encode()).hexdigest()


COLUMNS = tuple(field.name for field in fields(BatchJob) if field.name not in ("number", "problem"))


def read_jobs(source: str, defaults: Mapping[str, Any]) -> list[BatchJob]:
    """Jobs of a .csv or .json list or of a folder; `defaults` hold for what a line leaves empty.

    `output` may contain {name} (the sound's file name without suffix), {folder} (its folder within the batch's) and
    {number}. Paths in a list are relative to the list; in `defaults`, to the current folder. A bad line becomes a job
    with a `problem`; JobListError when there is no list at all.
    """
    path = Path(source).absolute()
    if path.is_dir():
        folder = path
        lines = [
            {"audio": str(file)} for file in sorted(path.rglob("*")) if file.suffix.lower() in SOUNDS and file.is_file()
        ]
    else:
        folder, lines = path.parent, _read_list(path)
    if not lines:
        raise JobListError(f"There are no jobs in “{path}”.")
    unknown = sorted({str(name) for line in lines for name in line} - set(COLUMNS))
    if unknown:
        raise JobListError(f"“{path.name}” has a column {unknown[0]!r}; known ones are {', '.join(COLUMNS)}.")
    jobs: list[BatchJob] = []
    places: dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        job = _job(number, line, defaults, folder)
        if not job.problem and job.output in places:
            job = replace(job, problem=f"Job {places[job.output]} writes “{job.output}” too; choose another output.")
        places.setdefault(job.output, number)
        jobs.append(job)
    return jobs


def choose_numbers(text: str, count: int) -> set[int]:
    """Job numbers of a range such as “1-20,33”; JobListError when it is none or lies outside 1…count."""
    try:
        chosen: set[int] = set()
        for part in text.split(","):
            first, _, last = part.partition("-")
            chosen |= set(range(int(first), int(last or first) + 1))
    except ValueError:
        chosen = set()
    if not chosen or min(chosen) < 1 or max(chosen) > count:
        raise JobListError(f"{text!r} is no range within jobs 1-{count}; write one such as 1-20,33.")
    return chosen


def _read_list(path: Path) -> list[dict[str, Any]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise JobListError(f"The job list “{path}” cannot be read; give a .csv, a .json or a folder.") from error
    if path.suffix.lower() == ".json":
        try:
            lines = json.loads(text)
        except ValueError as error:
            raise JobListError(f"“{path.name}” is no JSON ({error}).") from error
        if not isinstance(lines, list) or not all(isinstance(line, dict) for line in lines):
            raise JobListError(f"“{path.name}” must hold a list of objects, one per job.")
        return lines
    rows = csv.DictReader(text.splitlines(), restkey="more")
    return [{name.strip(): value for name, value in row.items() if name} for row in rows]


def _job(number: int, line: Mapping[str, Any], defaults: Mapping[str, Any], folder: Path) -> BatchJob:
    """One job; whatever is wrong with its values becomes its problem."""
    given = {name: value for name, value in line.items() if value not in (None, "")}
    values: dict[str, Any] = {name: value for name, value in defaults.items() if value is not None} | given
    try:
        for name, usual in _NUMBERS.items():
            values[name] = float(values.get(name, usual))
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
            base = folder if name in given else Path.cwd()
            values[name] = str(base / str(values[name])) if values.get(name) else ""
        sound = Path(values["audio"])
        inside = sound.parent.relative_to(folder) if sound.is_relative_to(folder) else Path()
        values["output"] = values["output"].format(name=sound.stem, folder=inside, number=number)
    except (ValueError, KeyError, IndexError, AttributeError) as error:
        return BatchJob(number, audio=str(line.get("audio", "")), problem=f"The job is not well written: {error}")
    missing = [name for name in ("blend", "audio", "object", "output") if not values.get(name)]
    values |= {name: str(values.get(name, "")) for name in ("object", "style")}
    return BatchJob(number, **values, problem=f"The job has no {missing[0]}." if missing else "")
