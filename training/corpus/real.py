# SPDX-License-Identifier: GPL-3.0-or-later
"""Real speech with phone alignments, licence tiers A and B only, with whole speakers held out.

The folder holds ``manifest.csv`` (path, transcript, language, speaker, licence, source, seconds, tier, aligned),
``alignments.tsv`` (path, then ``start:end:PHONE`` in seconds) and the recordings under ``real/``.
"""

from __future__ import annotations

import csv
import zlib
from collections.abc import Iterator
from pathlib import Path

from .clips import Clip
from .phones import Phone, from_arpabet, release_pauses, tidy

# Ten speakers of LibriSpeech test-other, two of its test-clean, the AN4 test set, and one whole corpus.
TEST_SPEAKERS = frozenset(
    [f"ls{n}" for n in (367, 533, 1688, 1998, 2033, 2414, 2609, 3005, 3080, 3331, 237, 1089)]
    + [f"an4_{s}" for s in ("fcaw", "fjlp", "fvap", "marh", "mdms2", "menk", "miry", "mjgm", "mjwl")]
    + ["LJ"]
)
DEV_SPEAKERS = frozenset(f"an4_{s}" for s in ("fash", "fjmd", "mblb", "mcfl", "mmal", "mrab"))
DEV_SHARE = 0.06  # of the recordings of every other speaker
TRAINING_TIERS = ("A", "B")
# These recordings were aligned in English phones. Their pure vowels are no diphthongs that end in narrow lips, and
# their trill is not the r for which English rounds the lips.
ABROAD = {"OW": "AO", "EY": "EH", "R": "L"}
ENGLISH_LABELS = ("it", "ru")
COLUMNS = frozenset(("path", "transcript", "language", "speaker", "seconds", "tier"))  # of the manifest, as used here


def parse_alignment(field: str) -> list[Phone]:
    """``0.00:0.56:SIL 0.56:0.69:N`` as phones; raises ValueError on anything else."""
    phones = []
    for item in field.split():
        try:
            start, end, name = item.split(":")
            phones.append((float(start), float(end), from_arpabet(name)))
        except ValueError as error:
            raise ValueError(f"“{item}” in alignments.tsv is no start:end:PHONE in seconds ({error}).") from error
    return phones


def split_of(speaker: str, key: str) -> str:
    """train, dev or test: by speaker first, then a fixed share of the recordings by a checksum of ``key``."""
    if speaker in TEST_SPEAKERS:
        return "test"
    if speaker in DEV_SPEAKERS or zlib.crc32(key.encode()) % 1000 < 1000 * DEV_SHARE:
        return "dev"
    return "train"


def read_real(folder: Path) -> Iterator[Clip]:
    """The aligned recordings in ``folder`` whose licence allows released weights, and those without labels.

    Unaligned recordings carry ``phones = None``: they serve self-training and text-free losses.
    """
    with (folder / "alignments.tsv").open(encoding="utf-8") as lines:
        aligned = dict(line.rstrip("\n").split("\t") for line in lines)
    with (folder / "manifest.csv").open(encoding="utf-8", newline="") as rows:
        table = csv.DictReader(rows)
        if missing := COLUMNS - set(table.fieldnames or ()):
            raise ValueError(f"manifest.csv in {folder} has no column {', '.join(sorted(missing))}; add it.")
        for row in table:
            if row["tier"] not in TRAINING_TIERS:
                continue
            path, seconds = row["path"], float(row["seconds"])
            phones = None
            if path in aligned:
                # the aligner works in whole 10 ms frames and leaves the last, incomplete ones unlabelled
                phones = release_pauses(parse_alignment(aligned[path]))
                if row["language"] in ENGLISH_LABELS:
                    phones = [(start, end, ABROAD.get(name, name)) for start, end, name in phones]
                try:
                    phones = tidy(phones, seconds, tolerance=0.08)
                except ValueError:
                    continue
            yield Clip(
                id="real-" + path.rsplit(".", 1)[0].replace("/", "-"),
                audio=path,
                speaker=row["speaker"],
                language=row["language"],
                text=row["transcript"],
                source="real:" + path.split("/")[0],
                tier=row["tier"],
                split=split_of(row["speaker"], path),
                seconds=seconds,
                phones=phones,
            )
