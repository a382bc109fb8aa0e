# SPDX-License-Identifier: GPL-3.0-or-later
"""How long an MP3 is, counted frame by frame: without a header that says so, libsndfile guesses from its first frames.

ISO/IEC 11172-3 and 13818-3, section 2.4.2.3. Programs that write to a pipe, stream rippers and lossless cutters make
such files.
"""

from __future__ import annotations

from typing import BinaryIO

_RATES = (44_100, 48_000, 32_000)  # Hz, of MPEG 1
_DIVIDED = {3: 1, 2: 2, 0: 4}  # by version bits: MPEG 1, 2 and 2.5
_KILOBITS = {
    True: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    False: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}  # per second, by whether it is MPEG 1
_SAYS = (b"Xing", b"Info", b"VBRI")  # begin what tells how long the sound is, within the first frame
_HEADER = 64  # bytes of the first frame in which that begins


def count_samples(file: BinaryIO) -> tuple[int, bool]:
    """Samples per channel up to the first byte that no Layer III frame begins with, and whether a header tells them.

    The file is not mapped: the process would die where another one cuts it off, as who exports it anew does.
    """
    samples, told = 0, False
    place = file.seek(_tag(file.read(10)))
    while (frame := _frame(file.read(4)))[0]:
        if samples == 0:
            head = file.read(_HEADER)
            told = any(mark in head for mark in _SAYS)
        samples += frame[1]
        place = file.seek(place + frame[0])
    return samples, told


def _tag(head: bytes) -> int:
    """Bytes of the ID3v2 tag that begins with `head`, 0 where none does."""
    if len(head) < 10 or head[:3] != b"ID3":
        return 0
    size = sum((byte & 127) << shift for byte, shift in zip(head[6:], (21, 14, 7, 0), strict=True))
    return 10 + size + (10 if head[5] & 16 else 0)


def _frame(head: bytes) -> tuple[int, int]:
    """Bytes and samples of the frame that begins with `head`; (0, 0) when none does."""
    if len(head) < 4 or head[0] != 255 or head[1] >> 5 != 7:
        return 0, 0
    version, layer, bits, rate = head[1] >> 3 & 3, head[1] >> 1 & 3, head[2] >> 4, head[2] >> 2 & 3
    if version == 1 or layer != 1 or not 0 < bits < 15 or rate == 3:
        return 0, 0
    first = version == 3
    padding = head[2] >> 1 & 1
    hertz = _RATES[rate] // _DIVIDED[version]
    return (144 if first else 72) * 1000 * _KILOBITS[first][bits] // hertz + padding, 1152 if first else 576
