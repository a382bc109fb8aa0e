# SPDX-License-Identifier: GPL-3.0-or-later
"""The wheels that packages carry: which there are (`wheels.lock`), which Blender each one serves, and fetching them.

Wheels go into packages unmodified. numpy is Blender's own; packages that onnxruntime declares but does not import
for inference (flatbuffers, packaging, protobuf, sympy, coloredlogs) are left out: all extensions share one
site-packages, and the less lies there the fewer can clash.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import tomllib
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = Path(__file__).with_name("wheels.lock")
FOLDER = ROOT / "wheels"

PYTHONS = (311, 313)  # Blender 4.5 and 5.0; Blender 5.1 and later
# Blender's platform: how the tags of its wheels end.
PLATFORMS = {
    "windows-x64": "win_amd64",
    "macos-arm64": "arm64",
    "macos-x64": "x86_64",
    "linux-x64": "x86_64",
}
# flavour: (the one onnxruntime in it, platforms that have it)
FLAVOURS = {
    "default": ("onnxruntime", tuple(PLATFORMS)),
    "cuda": ("onnxruntime-gpu", ("windows-x64", "linux-x64")),
    "directml": ("onnxruntime-directml", ("windows-x64",)),
}
_RUNTIMES = {runtime for runtime, _ in FLAVOURS.values()}


@dataclass(frozen=True)
class Wheel:
    """One file of the lock."""

    name: str
    version: str
    file: str
    sha256: str

    @property
    def tags(self) -> tuple[str, str, tuple[str, ...]]:
        """(python tag, ABI tag, platform tags) of the file name, PEP 427."""
        python, abi, platform = self.file.removesuffix(".whl").split("-")[-3:]
        return python, abi, tuple(platform.split("."))

    def runs_on(self, platform: str) -> bool:
        """Whether it is for Blender's `platform`, such as linux-x64."""
        system = {"windows": "win", "macos": "macosx", "linux": "manylinux"}[platform.partition("-")[0]]
        return any(
            tag == "any" or (tag.startswith(system) and tag.endswith(PLATFORMS[platform])) for tag in self.tags[2]
        )

    def serves(self, python: int) -> bool:
        """Whether Python `python` (311 is 3.11) can load it; a stable ABI serves later versions too."""
        tag, abi, _ = self.tags
        if tag.startswith("cp"):
            return python >= int(tag[2:]) if abi == "abi3" else python == int(tag[2:])
        return "py3" in tag.split(".")


def read_lock(path: Path = LOCK) -> list[Wheel]:
    """All wheels of the lock file."""
    return [Wheel(**entry) for entry in tomllib.loads(path.read_text(encoding="utf-8"))["wheel"]]


def choose(lock: list[Wheel], platform: str, flavour: str, pythons: tuple[int, ...] = PYTHONS) -> list[Wheel]:
    """The wheels of one package, sorted by file name."""
    left_out = _RUNTIMES - {FLAVOURS[flavour][0]}
    return sorted(
        (
            wheel
            for wheel in lock
            if wheel.name not in left_out and wheel.runs_on(platform) and any(map(wheel.serves, pythons))
        ),
        key=lambda wheel: wheel.file,
    )


def fetch(wheels: list[Wheel], platform: str, pythons: tuple[int, ...] = PYTHONS) -> list[Path]:
    """Paths of `wheels`, fetched with pip where they are not here yet; SystemExit when a hash is not the lock's."""
    FOLDER.mkdir(exist_ok=True)
    missing = [wheel for wheel in wheels if not _is_here(wheel)]
    by_python: dict[int, list[Wheel]] = defaultdict(list)
    for wheel in missing:
        by_python[next(filter(wheel.serves, pythons))].append(wheel)
    for python, group in by_python.items():
        print(f"Fetching {', '.join(wheel.file for wheel in group)}", flush=True)
        lines = [f"{wheel.name}=={wheel.version} --hash=sha256:{wheel.sha256}" for wheel in group]
        download(lines, python, {tag for wheel in group for tag in wheel.tags[2]}, FOLDER, "--require-hashes")
    for wheel in wheels:
        if not _is_here(wheel):
            raise SystemExit(f"{wheel.file} for {platform} is not what wheels.lock says; delete it and try again.")
    return [FOLDER / wheel.file for wheel in wheels]


def download(requirements: list[str], python: int, tags: set[str], folder: Path, *options: str) -> None:
    """`pip download` for another Python and platform than this one; SystemExit when pip fails."""
    with tempfile.TemporaryDirectory() as scratch:
        listed = Path(scratch, "requirements.txt")
        listed.write_text("\n".join(requirements), encoding="utf-8")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", *options]
        command += ["--implementation", "cp", "--python-version", str(python), "--dest", str(folder)]
        command += [part for tag in sorted(tags) for part in ("--platform", tag)]
        if subprocess.run([*command, "-r", str(listed)], check=False).returncode:
            raise SystemExit(f"pip could not fetch {', '.join(requirements)}; is there a connection?")


def sha256(path: Path) -> str:
    """Hex digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_here(wheel: Wheel) -> bool:
    path = FOLDER / wheel.file
    return path.is_file() and sha256(path) == wheel.sha256
