# SPDX-License-Identifier: GPL-3.0-or-later
"""A clip: one recording with what is known about it, and the file ``clips.jsonl`` that lists them."""

from __future__ import annotations

import json
import zlib
from argparse import ArgumentTypeError
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from .phones import Phone

SAMPLE_RATE = 16000


@dataclass(frozen=True)
class Clip:
    """One line of ``clips.jsonl``.

    ``audio`` is relative to the cache folder, or to the folder of real speech when ``source`` starts with ``real:``.
    ``phones`` are (start s, end s, ARPABET or SIL) without gaps, or None where no label exists. ``tier`` is the licence
    tier: A public domain or attribution, B a permissive repository licence, P made by this project.
    """

    id: str
    audio: str
    speaker: str
    language: str
    text: str
    source: str
    tier: str
    split: str
    seconds: float
    phones: list[Phone] | None

    def line(self) -> str:
        """The clip as one line of JSON, times rounded to 0.1 ms."""
        fields = asdict(self)
        fields["seconds"] = round(self.seconds, 4)
        if self.phones is not None:
            fields["phones"] = [[round(a, 4), round(b, 4), p] for a, b, p in self.phones]
        return json.dumps(fields, ensure_ascii=False)


def watched(clip_id: str, split: str, language: str) -> bool:
    """Whether training may watch this clip to know when to stop; no report judges by it. Half of English dev."""
    return split == "dev" and language == "en" and zlib.crc32(clip_id.encode()) % 2 == 0


def corpus_folder(text: str) -> Path:
    """The folder of a corpus, for argparse: one without a corpus is wrong usage, told before work begins."""
    if not (Path(text) / "clips.jsonl").is_file():
        raise ArgumentTypeError(
            f"there is no corpus in “{text}”; name its folder or make it: python -m training.corpus"
        )
    return Path(text)


def read_clips(cache: Path) -> Iterator[Clip]:
    """The clips listed in ``cache/clips.jsonl``; a last line cut short by an interrupted run is skipped."""
    path = cache / "clips.jsonl"
    if not path.exists():
        return
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            if not line.endswith("\n"):
                return
            fields = json.loads(line)
            if fields["phones"] is not None:
                fields["phones"] = [(a, b, p) for a, b, p in fields["phones"]]
            yield Clip(**fields)


def drop_partial_line(path: Path) -> None:
    """Cut what an interrupted run left after the last complete line of ``path``."""
    if path.exists():
        data = path.read_bytes()
        if not data.endswith(b"\n"):
            path.write_bytes(data[: data.rfind(b"\n") + 1])
