# SPDX-License-Identifier: GPL-3.0-or-later
"""A visit to a real Blender with a window: cancel in the middle, undo, a queue of heads. Takes two minutes.

BLENDER_WINDOW is the command that opens one and runs a script in it, given the script and the seconds it may take; its
current folder must be the project's. Skipped where there is none.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from typing import Any

import pytest
from conftest import ROOT

SECONDS = 420


@pytest.fixture(scope="module")
def facts() -> dict[str, Any]:
    """What the script in the window saw."""
    command = shlex.split(os.environ.get("BLENDER_WINDOW", ""))
    if not command:
        pytest.skip("BLENDER_WINDOW names no Blender with a window")
    done = subprocess.run(
        [*command, str(ROOT / "tests" / "in_window.py"), str(SECONDS)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=SECONDS + 60,
        check=False,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("FACTS ")]
    assert lines, done.stdout[-3000:] + done.stderr[-3000:]
    found = json.loads(lines[-1].removeprefix("FACTS "))
    print(json.dumps(found, indent=1))
    assert "error" not in found, found["error"]
    return found


def test_cancel_in_the_middle_changes_nothing(facts: dict[str, Any]) -> None:
    assert 0.2 < facts["cancelled at"] < 1
    assert facts["cancel changed"] == []
    assert facts["cancel says"] == ["CANCELLED", "Cancelled; nothing was changed."]


def test_undo_and_redo(facts: dict[str, Any]) -> None:
    assert facts["generate changed"]
    assert facts["generate says"][0] == "INFO"
    assert facts["undo left"] == []
    assert facts["redo lacks"] == []


def test_queue_of_heads(facts: dict[str, Any]) -> None:
    assert facts["queue after Esc"] == ["DONE", "WAITING", "WAITING"]
    assert facts["queue at the end"] == ["DONE", "DONE", "DONE"]
    assert facts["queue undo left"] == []


def test_life(facts: dict[str, Any]) -> None:
    assert facts["lids shut"] > 0.9
    assert facts["nods"]
