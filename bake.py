# SPDX-License-Identifier: GPL-3.0-or-later
"""Lip sync without a window.

    blender -b shot.blend --python-exit-code 1 --python bake.py -- --audio a.wav --object Head --output out.blend
    python bake.py shot.blend -- --audio a.wav --object Head --output out.blend     (with the bpy wheel)

The extension need not be installed: this file loads the package that it lies in.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path

_PACKAGE = "wav2sem_lipsync"


def load_package() -> str:
    """Make the folder of this file importable, whatever its name is; returns the package's name."""
    if _PACKAGE not in sys.modules:
        folder = Path(__file__).resolve().parent
        spec = importlib.util.spec_from_file_location(
            _PACKAGE, folder / "__init__.py", submodule_search_locations=[str(folder)]
        )
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[_PACKAGE] = module
        spec.loader.exec_module(module)
    return _PACKAGE


def main(arguments: Sequence[str]) -> int:
    """Bake as `arguments` say; returns 0 (done) or 1 (failed); wrong usage raises SystemExit(2)."""
    command_line = import_module(f"{load_package()}.operators.command_line")
    return int(command_line.main(arguments, prog="bake.py"))


def _own_arguments() -> list[str]:
    """What follows `--`; under plain Python also what stands before it."""
    before, after = sys.argv[1:], []
    if "--" in before:
        split = before.index("--")
        before, after = before[:split], before[split + 1 :]
    import bpy

    return after if bpy.app.binary_path else before + after


if __name__ == "__main__":
    try:
        code = main(_own_arguments())
    except SystemExit as usage:
        code = int(usage.code or 0)
    except Exception:  # else Python would end by itself, see below
        traceback.print_exc()
        code = 1
    for stream in filter(None, (sys.stdout, sys.stderr)):
        with suppress(OSError):  # the disk of a log is full, or its reader gone: the code says how the jobs went
            stream.flush()
    import bpy

    if not bpy.app.binary_path:
        os._exit(code)  # the bpy wheel may hang or crash while Python shuts down
    sys.exit(code)
