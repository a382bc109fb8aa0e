# SPDX-License-Identifier: GPL-3.0-or-later
"""A clip: one recording with what is known about it, and the file ``clips.jsonl`` that lists them."""

from __future__ import annotations

import json
import math
import zlib
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from .phones import ARPABET, Phone

CACHE, REAL_SPEECH = Path("training/cache"), Path("../shared/speech/real")
LONGEST_PHONES = 6 * 3600.0  # seconds: labels that go on for longer are none


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


def add_corpus_options(parser: ArgumentParser) -> None:
    """--cache and --real of a command that reads the corpus."""
    parser.add_argument("--cache", type=corpus_folder, default=str(CACHE), help="folder of the corpus")
    parser.add_argument("--real", type=Path, default=REAL_SPEECH, help="folder that real clips' paths start from")


def corpus_folder(text: str) -> Path:
    """The folder of a corpus, for argparse: one without a corpus is wrong usage, told before work begins."""
    if not (Path(text) / "clips.jsonl").is_file():
        raise ArgumentTypeError(
            f"there is no corpus in “{text}”; name its folder or make it: python -m training.corpus"
        )
    return Path(text)


def parse_clip(line: str) -> Clip:
    """The clip of a line of ``clips.jsonl``. Raises ValueError for what is none, as for labels that nobody can draw."""
    try:
        fields = json.loads(line)
        clip = Clip(**fields | {"phones": _phones_of(fields["phones"])})
        texts = (clip.id, clip.audio, clip.speaker, clip.language, clip.text, clip.source, clip.tier, clip.split)
        if not all(isinstance(text, str) for text in texts) or not math.isfinite(clip.seconds):
            raise ValueError("a field is of another kind")
        return clip
    except (LookupError, TypeError, ValueError, OverflowError) as error:
        raise ValueError(
            f"“{line.strip()[:60]}” in clips.jsonl is no clip ({error}); take the line out, or make the corpus anew: "
            "python -m training.corpus."
        ) from error


def _phones_of(stored: list[tuple[float, float, str]] | None) -> list[Phone] | None:
    """Phones as (start, end, name) one after the other; raises ValueError for others, TypeError for no phones."""
    if stored is None:
        return None
    phones = [(start, end, name) for start, end, name in stored]
    now = 0.0
    for start, end, name in phones:
        if name != "SIL" and name not in ARPABET:
            raise ValueError(f"there is no phone {name!r}")
        if not now - 1e-3 <= start <= end <= LONGEST_PHONES:
            raise ValueError(f"{name} lasts from {start!r} to {end!r} s")
        now = end
    return phones


def read_clips(cache: Path) -> Iterator[Clip]:
    """The clips listed in ``cache/clips.jsonl``; a last line cut short by an interrupted run is skipped.

    Raises ValueError for a line that is no clip.
    """
    path = cache / "clips.jsonl"
    if not path.exists():
        return
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            if not line.endswith("\n"):
                return
            yield parse_clip(line)


def drop_partial_line(path: Path) -> None:
    """Cut what an interrupted run left after the last complete line of ``path``."""
    if path.exists():
        data = path.read_bytes()
        if not data.endswith(b"\n"):
            path.write_bytes(data[: data.rfind(b"\n") + 1])
