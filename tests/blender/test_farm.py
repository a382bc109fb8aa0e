# SPDX-License-Identifier: GPL-3.0-or-later
"""The Flamenco job type: compiled by a JavaScript engine, its tasks run here and bake what the list says."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import bpy
import pytest
from conftest import ROOT
from heads import made_up_head

pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="needs Node.js")

# Flamenco's API for job compiler scripts (flamenco.blender.org/usage/job-types; the Manager's author.go: a task is
# copied when it is added, commands that come later are lost), then the job given as argument.
MANAGER = """
const path = require("path");
const author = {
    Task: (name, type) => ({ name, type, commands: [], dependencies: [],
                             addCommand(command) { this.commands.push(command); },
                             addDependency(task) { this.dependencies.push(task.name); } }),
    Command: (name, parameters) => ({ name, parameters }),
};
const job = JSON.parse(process.argv[1]);
job.tasks = [];
job.addTask = task => job.tasks.push({ ...task, commands: [...task.commands] });
%s
compileJob(job);
console.log(JSON.stringify({ type: JOB_TYPE, tasks: job.tasks }));
"""
SETTING_TYPES = {"string", "int32", "float", "bool"}
SUBTYPES = {"string": {"file_path", "dir_path", "hashed_file_path"}}
VISIBILITIES = {"visible", "hidden", "submission", "web"}


def compiled(**settings: Any) -> dict[str, Any]:
    """The job type, and the tasks it makes of `settings`."""
    script = MANAGER % (ROOT / "farm" / "lipsync.js").read_text(encoding="utf-8")
    job = json.dumps({"name": "lines", "settings": settings})
    done = subprocess.run(["node", "-e", script, job], capture_output=True, text=True, check=True, timeout=60)
    return json.loads(done.stdout)


def test_settings_are_of_kinds_that_flamenco_knows() -> None:
    settings = compiled(count=0, per_task=1)["type"]["settings"]
    assert settings
    for setting in settings:
        assert setting["type"] in SETTING_TYPES
        assert setting.get("subtype", "file_path") in SUBTYPES.get(setting["type"], {"file_path"}), setting
        assert setting.get("visible", "visible") in VISIBILITIES
        assert setting.get("required") or "default" in setting


@pytest.mark.parametrize(
    ("count", "per_task", "ranges"), [(7, 3, ["1-3", "4-6", "7-7"]), (6, 3, ["1-3", "4-6"]), (1, 25, ["1-1"])]
)
def test_every_job_is_in_one_task(count: int, per_task: int, ranges: list[str]) -> None:
    tasks = compiled(count=count, per_task=per_task)["tasks"]
    assert [task["name"] for task in tasks] == [f"lipsync-{text}" for text in ranges]
    assert {task["type"] for task in tasks} == {"blender"}


def test_its_tasks_bake_the_list(speech_file: Path, toy_folder: Path, tmp_path: Path) -> None:
    made_up_head("Face")
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "shot.blend"))
    names = ["a", "b", "c"]
    rows = [f"{shutil.copy(speech_file, tmp_path / f'{name}.wav')},{toy_folder}" for name in names]
    (tmp_path / "jobs.csv").write_text("\n".join(["audio,model", *rows]))
    tasks = compiled(
        job_list=str(tmp_path / "jobs.csv"),
        count=len(names),
        object="Face",
        output="{name}.spoken.glb",
        reports=str(tmp_path),
        bake_script=str(ROOT / "bake.py"),
        per_task=2,
        workers=1,
        blendfile=str(tmp_path / "shot.blend"),
    )["tasks"]
    for task in tasks:
        (command,) = task["commands"]
        assert (command["name"], command["parameters"]["exe"]) == ("exec", "{blender}")
        options, rest = _split(command["parameters"]["args"], "--python")
        assert options == ["--background", "--factory-startup", "--python-exit-code", "1"]
        done = subprocess.run([sys.executable, *rest], capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in tmp_path.glob("*.glb")) == [f"{name}.spoken.glb" for name in names]
    assert sorted(path.name for path in tmp_path.glob("lipsync.*.csv")) == ["lipsync.1-2.csv", "lipsync.3-3.csv"]


def _split(arguments: list[str], at: str) -> tuple[list[str], list[str]]:
    """What Blender reads, and the script with its own arguments (the bpy wheel has no Blender to read the former)."""
    place = arguments.index(at)
    return arguments[:place], arguments[place + 1 :]
