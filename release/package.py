# SPDX-License-Identifier: GPL-3.0-or-later
"""Build the installable packages: `python release/package.py [--flavour F] [--platform P …] [--repository]`.

Blender's own extension builder does the work; it lies in the bpy wheel. The committed manifest is the truth: the copy
that is built only gets `platforms` and `wheels` added.
"""

from __future__ import annotations

import argparse
import importlib.util
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from wheel_lock import FLAVOURS, FOLDER, PYTHONS, ROOT, choose, fetch, read_lock

DIST = ROOT / "dist"
LARGEST = 100_000_000  # bytes of a default package
_MANIFEST = "blender_manifest.toml"


def main() -> int:
    """Build, validate and list; returns the exit code."""
    options = _parser().parse_args()
    platforms = options.platform or list(FLAVOURS[options.flavour][1])
    built = [build(platform, options.flavour, tuple(options.python), options.output) for platform in platforms]
    print(f"\n{'package':<56}{'MB':>8}")
    for path in built:
        print(f"{path.name:<56}{path.stat().st_size / 1e6:8.1f}")
    if options.repository:
        print(f"\nRepository: {make_repository(built, options.output / 'repository' / options.flavour)}")
    large = [path.name for path in built if path.stat().st_size >= LARGEST and options.flavour == "default"]
    if large:
        print(f"Error: {', '.join(large)} has {LARGEST / 1e6:.0f} MB or more.", file=sys.stderr)
    return 1 if large else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="release/package.py", description="Build installable packages.")
    parser.add_argument("--flavour", choices=FLAVOURS, default="default")
    parser.add_argument("--platform", action="append", metavar="P", help="only this one (may be repeated)")
    parser.add_argument("--python", nargs="+", type=int, default=PYTHONS, metavar="311", help="Python versions served")
    parser.add_argument("--output", type=Path, default=DIST, metavar="DIR")
    parser.add_argument("--repository", action="store_true", help="also a folder that Blender can subscribe to")
    return parser


def build(platform: str, flavour: str = "default", pythons: tuple[int, ...] = PYTHONS, output: Path = DIST) -> Path:
    """Build and validate one package; returns the zip. SystemExit when the builder or validator refuses."""
    if platform not in FLAVOURS[flavour][1]:
        raise SystemExit(f"There is no {flavour} package for {platform}; choose {', '.join(FLAVOURS[flavour][1])}.")
    manifest = (ROOT / _MANIFEST).read_text(encoding="utf-8")
    wheels = fetch(choose(read_lock(), platform, flavour, pythons), platform, pythons)
    facts = tomllib.loads(manifest)
    suffix = "" if flavour == "default" else f"-{flavour}"
    output.mkdir(parents=True, exist_ok=True)
    target = output / f"{facts['id']}-{facts['version']}-{platform}{suffix}.zip"
    with tempfile.TemporaryDirectory() as scratch:
        stage = Path(scratch, facts["id"])
        _copy_sources(stage, facts["build"]["paths_exclude_pattern"])
        _place_wheels(wheels, stage / "wheels")
        (stage / _MANIFEST).write_text(with_wheels(manifest, platform, wheels), encoding="utf-8")
        extension_tool("build", "--source-dir", str(stage), "--output-filepath", str(target))
    extension_tool("validate", str(target))
    return target


def with_wheels(manifest: str, platform: str, wheels: list[Path]) -> str:
    """The manifest with `platforms` and `wheels` added, before its first table."""
    listed = "".join(f'  "./wheels/{path.name}",\n' for path in wheels)
    head, table, rest = manifest.partition("\n[")
    return f'{head}\nplatforms = ["{platform}"]\nwheels = [\n{listed}]\n{table}{rest}'


def make_repository(packages: list[Path], folder: Path) -> Path:
    """A folder for any web server: the packages with Blender's listing (index.json) and a page to look at."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for path in packages:
        shutil.copy2(path, folder)
    extension_tool("server-generate", "--repo-dir", str(folder), "--html")
    return folder


def extension_tool(*arguments: str) -> None:
    """Run Blender's extension tool, the script `blender --command extension` stands on."""
    spec = importlib.util.find_spec("bpy")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit(
            "The bpy wheel, which brings Blender's extension builder, is not installed; use `make package`."
        )
    scripts = Path(spec.submodule_search_locations[0]).glob("*/scripts/addons_core/bl_pkg/cli/blender_ext.py")
    done = subprocess.run([sys.executable, str(next(scripts)), *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"Blender's extension tool refuses {' '.join(arguments)}:\n{done.stdout}{done.stderr}")


def _copy_sources(stage: Path, patterns: list[str]) -> None:
    """Copy what git knows, so that a developer's own models and scratch files stay at home; all where git is not.

    The builder applies the manifest's patterns; here they only save copying what it would leave out.
    """
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    known = [Path(name) for name in listed.stdout.split("\0") if name]
    files = known or [path.relative_to(ROOT) for path in ROOT.rglob("*") if path.is_file()]
    left_out = (FOLDER.name, *(pattern.strip("/") for pattern in patterns if pattern.startswith("/")))
    for path in files:
        if path.parts[0].startswith(".") or any(path.is_relative_to(name) for name in left_out):
            continue
        if (ROOT / path).is_file():
            (stage / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / path, stage / path)


def _place_wheels(wheels: list[Path], folder: Path) -> None:
    folder.mkdir()
    for path in wheels:
        shutil.copy2(path, folder)


if __name__ == "__main__":
    sys.exit(main())
