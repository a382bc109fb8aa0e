# SPDX-License-Identifier: GPL-3.0-or-later
"""The Open Job Description template: its script, run by bash as a worker would."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from textwrap import dedent

import pytest
from conftest import ROOT


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_quotation_marks_in_paths(tmp_path: Path) -> None:
    text = (ROOT / "farm" / "lipsync.openjd.yaml").read_text(encoding="utf-8")
    script = dedent(text.partition("data: |\n")[2])
    assert "{{" not in script
    folder = tmp_path / 'the animator\'s "shots" $HOME'
    folder.mkdir()
    (folder / "run.sh").write_text(script)
    (folder / "python").write_text('#!/bin/sh\nprintf "%s\\n" "$PWD" "$@"\n')
    (folder / "python").chmod(0o755)
    values = {name: str(folder / name) for name in re.findall(r"^  - name: (\w+)", text, re.MULTILINE)}
    values |= {"Blender": str(folder / "python"), "Run": str(folder / "run.sh"), "Jobs": "1-25"}
    arguments = [
        re.sub(r"{{[\w.]*?(\w+)}}", lambda found: values[found[1]], argument)
        for argument in re.findall(r'^ {12}- "?(.+?)"?$', text, re.MULTILINE)
    ]
    done = subprocess.run(["bash", *arguments], capture_output=True, text=True, check=True, timeout=60)
    place, baker, mark, shot, *options = done.stdout.splitlines()
    assert (place, baker, mark, shot) == (values["Reports"], values["BakeScript"], "--", values["Shot"])
    assert dict(zip(options[::2], [*options[1::2], None], strict=True)) == {
        "--jobs": values["JobList"],
        "--only": "1-25",
        "--object": values["Object"],
        "--output": values["Output"],
        "--workers": values["Workers"],
        "--report": "lipsync.1-25.csv",
        "--resume": None,
    }


def test_name_is_short_wherever_the_list_lies() -> None:
    """The specification allows 128 characters, with all parameters filled in."""
    text = (ROOT / "farm" / "lipsync.openjd.yaml").read_text(encoding="utf-8")
    (name,) = re.findall(r'^name: "(.*)"$', text, re.MULTILINE)
    assert 0 < len(name) <= 128 and "{{" not in name


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize(
    ("program", "first"), [("python-tools/blender", "--background"), ("tools/python3.11", "bake.py")]
)
def test_blender_in_a_folder_called_like_python(program: str, first: str, tmp_path: Path) -> None:
    text = (ROOT / "farm" / "lipsync.openjd.yaml").read_text(encoding="utf-8")
    (tmp_path / "run.sh").write_text(dedent(text.partition("data: |\n")[2]))
    fake = tmp_path / program
    fake.parent.mkdir()
    fake.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    fake.chmod(0o755)
    command = ["bash", str(tmp_path / "run.sh"), str(fake), "bake.py", str(tmp_path), "shot.blend"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines()[0] == first
