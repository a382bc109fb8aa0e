# SPDX-License-Identifier: GPL-3.0-or-later
"""Install the package as a user does, bake with it, remove it, see that nothing is left: `make test-install`.

With the bpy wheel of this environment; with a real Blender where BLENDER is its command. The package is the one that
users get; only for a Python that none is made for (Debian's Blender has 3.14) it carries that one's wheels. A flavour
may be named. INSTALL_TEST_FOLDER and INSTALL_TEST_SEEN name a scratch folder, from here and as Blender sees it, where
these differ (chroot, container).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import wave
from array import array
from math import pi, sin
from pathlib import Path
from random import Random
from typing import Any

from package import build
from wheel_lock import PYTHONS, ROOT

ID = "wav2sem_lipsync"
PLATFORM = {"linux": "linux-x64", "win32": "windows-x64", "darwin": "macos-arm64"}[sys.platform]

# The bpy wheel has no `blender --command`: these two are what stands behind it.
_EXTENSION = (
    "import sys, bpy; from bl_pkg import bl_extension_cli as c; sys.exit(c.cli_extension_handler(sys.argv[1:]))"
)
_LIPSYNC = f"""
import sys, bpy
from importlib import import_module
sys.exit(import_module("bl_ext.user_default.{ID}.operators.command_line").main(sys.argv[1:]))
"""
SHOT = """
import sys, bpy
bpy.ops.mesh.primitive_uv_sphere_add()
head = bpy.context.object
head.name = "Head"
for name in ("Basis", "jawOpen", "mouthClose", "mouthFunnel", "mouthPucker"):
    head.shape_key_add(name=name).data[0].co.z += 0.1
bpy.ops.wm.save_as_mainfile(filepath={path!r})
"""
_CHECK = """
import json, sys, bpy
bpy.ops.wm.open_mainfile(filepath={path!r})
import onnxruntime, soundfile, soxr
keys = bpy.data.objects["Head"].data.shape_keys
seen = set()
for frame in range(1, 70):
    bpy.context.scene.frame_set(frame)
    seen.add(round(keys.evaluated_get(bpy.context.evaluated_depsgraph_get()).key_blocks["jawOpen"].value, 3))
print("CHECK", json.dumps({{"blender": bpy.app.version_string, "python": sys.version.split()[0],
    "onnxruntime": onnxruntime.__version__, "from": onnxruntime.__file__, "different values": len(seen)}}))
"""


class Machine:
    """A Blender with a user folder of its own."""

    def __init__(self, folder: Path, seen: str, blender: list[str]) -> None:
        self.folder, self.seen, self._blender = folder, seen, blender

    def path(self, name: str) -> str:
        """A file of the scratch folder as Blender sees it."""
        return f"{self.seen}/{name}"

    def command(self, name: str, *arguments: str) -> str:
        """`blender --command name …`."""
        if self._blender:
            return self._run([*self._blender, "--command", name, *arguments])
        return self._run([sys.executable, "-c", _EXTENSION if name == "extension" else _LIPSYNC, *arguments])

    def script(self, text: str) -> str:
        """Run a Python text in Blender."""
        if self._blender:
            return self._run([*self._blender, "-b", "--python-exit-code", "1", "--python-expr", text])
        return self._run([sys.executable, "-c", text])

    def _run(self, command: list[str]) -> str:
        own = {"BLENDER_USER_RESOURCES": self.path("user"), "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=os.environ | own, check=False)
        if done.returncode:
            raise SystemExit(f"{' '.join(command)}\nended with {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def left(self) -> list[str]:
        """What the extension left in the user folder; byte code that Blender forgets with any wheel is not counted."""
        found = (self.folder / "user").rglob("*")
        files = (path for path in found if path.is_file() and path.suffix != ".pyc")
        return [str(path) for path in files if ID in path.parts or "site-packages" in path.parts]


def main() -> int:
    """Run the steps; returns the exit code."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(os.environ.get("INSTALL_TEST_FOLDER", scratch))
        seen = os.environ.get("INSTALL_TEST_SEEN", str(folder))
        (folder / "user").mkdir(parents=True, exist_ok=True)
        machine = Machine(folder, seen, os.environ.get("BLENDER", "").split())
        print(json.dumps(run(machine, *sys.argv[1:2]), indent=1))
    return 0


def run(machine: Machine, flavour: str = "default") -> dict[str, object]:
    """Install, bake, remove; what was seen. SystemExit at the first thing that is not as it should be."""
    version = machine.script("import sys; print('PYTHON', sys.version_info.major * 100 + sys.version_info.minor)")
    python = int(version.split("PYTHON ")[1].split()[0])
    package = build(PLATFORM, flavour, PYTHONS if python in PYTHONS else (python,), machine.folder)
    write_clip(machine.folder / "line.wav")
    machine.script(SHOT.format(path=machine.path("shot.blend")))
    machine.command("extension", "install-file", "-r", "user_default", "-e", machine.path(package.name))
    installed = len(machine.left())
    line = bake(machine)
    checked = machine.script(_CHECK.format(path=machine.path("out.blend")))
    facts = json.loads(checked.split("CHECK ")[1].splitlines()[0])
    machine.command("extension", "remove", f"user_default.{ID}")
    facts |= {"keys": line["keys"], "moves": line["moves"], "files installed": installed, "left": machine.left()}
    own = str(facts["from"]).startswith(machine.seen)
    if not (installed and own and line["moves"] and facts["different values"] > 3 and not facts["left"]):
        raise SystemExit(f"The installed extension does not work as it should: {facts}")
    return facts


def bake(machine: Machine) -> dict[str, Any]:
    """Bake line.wav on shot.blend with the installed extension; what it reports."""
    output = machine.command(
        "lipsync", machine.path("shot.blend"), "--audio", machine.path("line.wav"), "--object", "Head",
        "--output", machine.path("out.blend"),
    )  # fmt: skip
    return json.loads([text for text in output.splitlines() if text.startswith("{")][-1])


def write_clip(path: Path) -> None:
    """Three seconds of something like syllables."""
    random = Random(1)
    samples = (int(9000 * random.gauss(0, 1) * abs(sin(4 * pi * i / 16000))) for i in range(48000))
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
        file.writeframes(array("h", (max(-32768, min(32767, value)) for value in samples)).tobytes())


if __name__ == "__main__":
    sys.exit(main())
