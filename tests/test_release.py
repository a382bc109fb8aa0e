# SPDX-License-Identifier: GPL-3.0-or-later
"""What packages carry: the lock file holds every wheel that a flavour needs, and never two runtimes in one."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

import pytest
from conftest import ROOT

sys.path.append(str(ROOT / "release"))

import package
import wheel_lock as wheels

PACKAGES = [(flavour, platform) for flavour, (_, platforms) in wheels.FLAVOURS.items() for platform in platforms]


@pytest.mark.parametrize(("flavour", "platform"), PACKAGES)
@pytest.mark.parametrize("python", wheels.PYTHONS)
def test_each_python_gets_each_package_once(flavour: str, platform: str, python: int) -> None:
    names = [wheel.name for wheel in wheels.choose(wheels.read_lock(), platform, flavour, (python,))]
    assert sorted(names) == sorted(["cffi", "pycparser", "soundfile", "soxr", wheels.FLAVOURS[flavour][0]])


def test_locked_versions_load_in_old_windows_blenders() -> None:
    """Later ones need a newer C++ runtime than Blender 4.5 and 5.0 carry; see docs/packages.md."""
    chosen = [wheel for wheel in wheels.read_lock() if wheel.name.startswith("onnxruntime") and "win" in wheel.file]
    assert chosen and all(wheel.version.startswith("1.20.") for wheel in chosen)


def test_manifest_gains_wheels_and_loses_nothing() -> None:
    text = (ROOT / "blender_manifest.toml").read_text(encoding="utf-8")
    built = tomllib.loads(package.with_wheels(text, "linux-x64", [Path("a-1-py3-none-any.whl")]))
    assert built.pop("platforms") == ["linux-x64"] and built.pop("wheels") == ["./wheels/a-1-py3-none-any.whl"]
    assert built == tomllib.loads(text)
