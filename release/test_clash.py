# SPDX-License-Identifier: GPL-3.0-or-later
"""Install beside another extension that brings onnxruntime-gpu: it must be named, and the bake must do.

Both wheels land in one folder and replace each other's files; in which order is Blender's choice. Run by hand, since
it fetches 290 MB: `python release/test_clash.py`, with the bpy wheel of this environment.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from package import build, extension_tool
from test_install import PLATFORM, SHOT, Machine, bake, write_clip
from wheel_lock import choose, fetch, read_lock

_OTHER = """
schema_version = "1.0.0"
id = "other_runtime"
version = "1.0.0"
name = "Other Runtime"
tagline = "Brings another onnxruntime"
maintainer = "Nobody"
type = "add-on"
blender_version_min = "4.5.0"
license = ["SPDX:GPL-3.0-or-later"]
wheels = ["./wheels/{wheel}"]
"""
# In one process: the bpy wheel starts without the user's preferences, so it would not know the first any more.
_INSTALL = """
import bpy
from bl_pkg.bl_extension_cli import cli_extension_handler
for path in {zips}:
    cli_extension_handler(["install-file", "-r", "user_default", "-e", path])
"""


def main() -> int:
    """Install both in either order, bake, print what was said; the exit code is 0 when both runtimes were named."""
    named = [_named(order) for order in (1, -1)]
    return 0 if all(named) else 1


def _named(order: int) -> bool:
    python = sys.version_info.major * 100 + sys.version_info.minor
    with tempfile.TemporaryDirectory() as scratch:
        machine = Machine(Path(scratch), scratch, [])
        zips = [str(_other_extension(Path(scratch), python)), str(build(PLATFORM, output=machine.folder))][::order]
        write_clip(machine.folder / "line.wav")
        machine.script(SHOT.format(path=machine.path("shot.blend")))
        machine.script(_INSTALL.format(zips=zips))
        said = bake(machine)["notes"]
    print(json.dumps({"installed": [Path(path).name for path in zips], "said": said}, indent=1))
    return any("onnxruntime-gpu" in sentence and "keep one of them" in sentence for sentence in said)


def _other_extension(folder: Path, python: int) -> Path:
    """A package that holds nothing but its runtime."""
    wheels = [wheel for wheel in choose(read_lock(), PLATFORM, "cuda", (python,)) if wheel.name == "onnxruntime-gpu"]
    source, target = folder / "other", folder / "other_runtime-1.0.0.zip"
    (source / "wheels").mkdir(parents=True)
    for path in fetch(wheels, PLATFORM, (python,)):
        (source / "wheels" / path.name).symlink_to(path)
        (source / "blender_manifest.toml").write_text(_OTHER.format(wheel=path.name), encoding="utf-8")
    (source / "__init__.py").write_text(
        "def register():\n    pass\n\n\ndef unregister():\n    pass\n", encoding="utf-8"
    )
    extension_tool("build", "--source-dir", str(source), "--output-filepath", str(target))
    return target


if __name__ == "__main__":
    sys.exit(main())
