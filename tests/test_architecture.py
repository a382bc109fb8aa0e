# SPDX-License-Identifier: GPL-3.0-or-later
"""The import rules: panels → operators → inference ← training, held by reading the syntax trees."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT

FOLDERS = {
    # folder: (packages it may import beside the standard library, packages of ours reached with two dots)
    "inference": ({"numpy", "soundfile", "soxr", "onnxruntime"}, set()),
    "operators": ({"bpy", "mathutils", "numpy"}, {"inference"}),
    "panels": ({"bpy"}, {"operators"}),
}


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """(module, dots) of every import in the file, wherever it stands."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, 0) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.module:
                yield node.module, node.level
            else:
                yield from ((alias.name, node.level) for alias in node.names)


def modules(folder: str) -> list[Path]:
    found = sorted((ROOT / folder).rglob("*.py"))
    assert found, folder
    return found


@pytest.mark.parametrize("folder", FOLDERS)
def test_folders_import_only_what_they_may(folder: str) -> None:
    outside, siblings = FOLDERS[folder]
    for path in modules(folder):
        depth = len(path.relative_to(ROOT / folder).parts)
        for module, dots in imports(path):
            top = module.partition(".")[0]
            if dots == 0:
                assert top in outside | set(sys.stdlib_module_names), f"{path}: imports {module}"
            elif dots > depth:
                assert top in siblings or (folder != "inference" and top == "__package__"), (
                    f"{path}: reaches up to {module}"
                )


def test_onnxruntime_lives_in_one_module() -> None:
    for folder in ("inference", "operators", "panels"):
        for path in modules(folder):
            names = {module.partition(".")[0] for module, _ in imports(path)}
            assert "onnxruntime" not in names or path.name == "session.py", path


def test_training_knows_no_blender_and_nobody_knows_training() -> None:
    for path in modules("training"):
        assert not any(module.partition(".")[0] in ("bpy", "operators", "panels") for module, _ in imports(path)), path
    for folder in FOLDERS:
        assert not any("training" in module.split(".") for path in modules(folder) for module, _ in imports(path))


def test_root_imports_nothing_when_it_is_loaded() -> None:
    tree = ast.parse((ROOT / "__init__.py").read_text(encoding="utf-8"))
    assert not any(isinstance(node, ast.Import | ast.ImportFrom) for node in tree.body)


def test_every_module_says_what_it_is() -> None:
    for folder in (*FOLDERS, "training", "benchmarks", "demo", "release"):
        for path in modules(folder):
            text = path.read_text(encoding="utf-8")
            assert text.startswith("# SPDX-License-Identifier: GPL-3.0-or-later\n"), path
            assert ast.get_docstring(ast.parse(text)), path
