# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a file that an exporter wrote is there to its end: on a full disk not every exporter says that it is not."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import BinaryIO

_ZSTD = b"\x28\xb5\x2f\xfd"
_SEEK_TABLE = 0x8F92EAB1
_TAIL = 32  # bytes: the longest header of a block in a .blend


def is_whole(path: Path) -> bool:
    """Whether a .blend or USD file is as long as it says; others are taken to be whole.

    What was written lies on the disk afterwards, not only in the system's memory. Raises OSError when it cannot.
    """
    with path.open("r+b") as file:
        os.fsync(file.fileno())
        size = os.fstat(file.fileno()).st_size
        head = file.read(24)
        file.seek(max(size - _TAIL, 0))
        tail = file.read()
        try:
            if head.startswith(_ZSTD):
                return _frames(file, size) == size
            if head.startswith(b"PXR-USDC"):
                return _sections(file, head, size) <= size
        except struct.error:  # less than a header is there
            return False
    if head.startswith(b"BLENDER"):
        return b"ENDB" in tail
    return tail.endswith(b"\n}\n\n") if head.startswith(b"#usda") else True


def _frames(file: BinaryIO, size: int) -> int:
    """Bytes that a compressed .blend takes by the table at its end: a frame's length for each, and the table's own.

    Zstandard Seekable Format 0.1.0, as Blender has written it since 3.0.
    """
    file.seek(max(size - 9, 0))
    count, _, magic = struct.unpack("<IBI", file.read(9))
    table = 8 * count + 17
    if magic != _SEEK_TABLE or table > size:
        return -1
    file.seek(size - table + 8)
    return sum(length for length, _ in struct.iter_unpack("<II", file.read(8 * count))) + table


def _sections(file: BinaryIO, head: bytes, size: int) -> int:
    """Where the last section of a binary USD file ends, by the table of contents that its header points to."""
    (place,) = struct.unpack("<q", head[16:])
    file.seek(place if 0 <= place < size else size)
    (count,) = struct.unpack("<Q", file.read(8))
    sections = struct.iter_unpack("<16xqq", file.read(32 * count))
    return max((begin + length for begin, length in sections), default=0)
