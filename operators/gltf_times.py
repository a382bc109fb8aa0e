# SPDX-License-Identifier: GPL-3.0-or-later
"""The times of a .glb, set right where Blender's exporter takes a rate such as 30 / 1.001 Hz for 30 · 1.001 Hz.

The scene cannot be made to look as the exporter needs it: Blender moves trimmed sound strips when its rate changes.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np

_HEADER = struct.Struct("<4sIIII")  # "glTF", version, bytes of the file, bytes of the JSON that follows, "JSON"
_CHUNK = 8  # bytes before the content of the binary chunk


def end_at(path: Path, seconds: float) -> None:
    """Stretch or squeeze all animations so that the last key lies at `seconds`; a file that is right stays as it is.

    Raises OSError.
    """
    data = path.read_bytes()
    magic, version, _, length, kind = _HEADER.unpack_from(data)
    about = json.loads(data[_HEADER.size : _HEADER.size + length])
    binary = bytearray(data[_HEADER.size + length :])
    inputs = {sampler["input"] for animation in about.get("animations", ()) for sampler in animation["samplers"]}
    times = [about["accessors"][index] for index in inputs]
    last = max((each["max"][0] for each in times), default=0.0)
    if last <= 0 or np.float32(last) == np.float32(seconds):
        return
    for each in times:
        _scale(each, about["bufferViews"][each["bufferView"]], binary, seconds / last)
    text = json.dumps(about, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 4)
    head = _HEADER.pack(magic, version, _HEADER.size + len(text) + len(binary), len(text), kind)
    path.write_bytes(head + text + binary)


def _scale(accessor: dict[str, Any], view: dict[str, Any], binary: bytearray, factor: float) -> None:
    """Multiply the times (float32, one after the other) that `accessor` describes, in place."""
    begin = _CHUNK + view.get("byteOffset", 0) + accessor.get("byteOffset", 0)
    times = np.frombuffer(binary, "<f4", accessor["count"], begin)
    times *= factor
    accessor["min"], accessor["max"] = [float(times.min())], [float(times.max())]
