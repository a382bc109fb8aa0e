# SPDX-License-Identifier: GPL-3.0-or-later
"""A few named arrays as bytes that a .blend file can carry, and back again whoever wrote the file.

The bytes are what `numpy.savez_compressed` writes: a zip of .npy files, deflated; equal arrays give equal bytes.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from io import BytesIO

import numpy as np

from .errors import LipSyncError

LIMIT = 1 << 28  # bytes of all arrays together: four hours of 52 weights at 62.5 Hz in float32 take 187 MB
_MOST_ARRAYS = 256
_LONGEST_HEADER = 4096  # bytes of a .npy header; numpy's own take 128
_KINDS = "biufU"  # bool, integers, floats and text: whatever needs no pickle and no object


class DamagedData(LipSyncError):
    """Stored data that cannot be what this extension wrote."""


def pack(arrays: Mapping[str, np.ndarray], level: int = 6) -> bytes:
    """`arrays` as bytes; `level` of compression from 0, none, to 9. Raises ValueError for an array of objects."""
    packed = BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=level) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w") as member:
                np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)
    return packed.getvalue()


def unpack(data: bytes, limit_bytes: int = LIMIT) -> dict[str, np.ndarray]:
    """The arrays that `pack` was given; what they claim to need is checked before anything is inflated.

    Raises DamagedData for bytes that `pack` did not write, and for more than `limit_bytes` of arrays unless `data` is
    as long itself: what was packed at level 0 is no bomb.
    """
    try:
        with zipfile.ZipFile(BytesIO(data)) as archive:
            members = archive.infolist()
            claimed = sum(member.file_size for member in members)
            if len(members) > _MOST_ARRAYS or claimed > max(limit_bytes, len(data)):
                raise DamagedData("The stored lip sync claims to be larger than any can be; generate it again.")
            return {member.filename.removesuffix(".npy"): _array(_inflated(archive, member)) for member in members}
    except DamagedData:
        raise
    except Exception as error:  # what zipfile and numpy raise for bytes that lie is not documented, and is much
        raise _damaged() from error


def _inflated(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    """The content of one member, never more than it claims: other methods than these two inflate without bounds."""
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError("packed in a way that numpy does not pack")
    with archive.open(member) as file:
        return file.read(member.file_size)


def _array(data: bytes) -> np.ndarray:
    """One .npy, whose header may not promise more or less than the bytes that follow it."""
    stream = BytesIO(data)
    version = np.lib.format.read_magic(stream)
    read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
    shape, by_columns, kind = read_header(stream, max_header_size=_LONGEST_HEADER)
    count = 1
    for size in shape:
        count *= int(size)  # Python's integers do not overflow
    known = kind.kind in _KINDS and not kind.hasobject and kind.itemsize > 0
    if not known or min(shape, default=0) < 0 or kind.itemsize * count != len(data) - stream.tell():
        raise ValueError("header and content disagree")
    flat = np.frombuffer(data, kind, count, stream.tell()) if count else np.zeros(0, kind)
    return flat.reshape(shape, order="F" if by_columns else "C").copy()


def _damaged() -> DamagedData:
    return DamagedData("The stored lip sync is damaged; generate it again.")
