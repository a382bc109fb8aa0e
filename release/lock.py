# SPDX-License-Identifier: GPL-3.0-or-later
"""Write wheels.lock anew: `python release/lock.py`, only when a version is to change. Fetches every wheel once.

Why these versions stand in docs/packages.md.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from wheel_lock import LOCK, download, sha256

_COMMON = ["soundfile==0.14.0", "soxr==1.1.0", "cffi==2.1.1", "pycparser==3.12"]
_WINDOWS = {"win_amd64"}
_LINUX = {f"manylinux_2_{minor}_x86_64" for minor in (17, 27, 28)} | {"manylinux2014_x86_64"}
_MAC_ARM = {f"macosx_{major}_0_arm64" for major in (11, 12, 13, 14)}
_MAC_X64 = {f"macosx_{version}_x86_64" for version in ("10_9", "10_13", "10_14", "10_15", "11_0", "12_0", "13_0")}

# (requirements, Python, platform tags); Python 3.14 serves only the test in Debian's Blender.
_WANTED = [
    *(
        (["onnxruntime==1.20.1", "onnxruntime-directml==1.20.1", "onnxruntime-gpu==1.20.2", *_COMMON], python, _WINDOWS)
        for python in (311, 313)
    ),
    *((["onnxruntime==1.31.1", "onnxruntime-gpu==1.20.2", *_COMMON], python, _LINUX) for python in (311, 313)),
    (["onnxruntime==1.31.1", *_COMMON], 314, _LINUX),
    *((["onnxruntime==1.31.1", *_COMMON], python, _MAC_ARM) for python in (311, 313)),
    *((["onnxruntime==1.23.2", *_COMMON], python, _MAC_X64) for python in (311, 313)),
]

_HEAD = "# Written by release/lock.py. Wheels that packages carry, unmodified; numpy is Blender's own.\n"
_ENTRY = '\n[[wheel]]\nname = "{}"\nversion = "{}"\nfile = "{}"\nsha256 = "{}"\n'


def main() -> None:
    """Fetch into a scratch folder and write the lock."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for requirements, python, tags in _WANTED:
            download(requirements, python, tags, folder)
        entries = []
        for path in sorted(folder.glob("*.whl")):
            name, version = path.name.split("-")[:2]
            entries.append(_ENTRY.format(name.replace("_", "-"), version, path.name, sha256(path)))
    LOCK.write_text(_HEAD + "".join(entries), encoding="utf-8")
    print(f"{len(entries)} wheels in {LOCK.name}")


if __name__ == "__main__":
    main()
