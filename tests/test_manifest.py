# SPDX-License-Identifier: GPL-3.0-or-later
"""The extension's manifest keeps Blender's rules and names what is really there."""

from __future__ import annotations

import re
import tomllib

from conftest import ROOT

MANIFEST = tomllib.loads((ROOT / "blender_manifest.toml").read_text(encoding="utf-8"))


def test_identity() -> None:
    assert MANIFEST["id"] == "wav2sem_lipsync" and MANIFEST["name"] == "Wav2Sem Lip Sync"
    assert MANIFEST["blender_version_min"] == "4.5.0"
    assert MANIFEST["license"] == ["SPDX:GPL-3.0-or-later"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", MANIFEST["version"])


def test_only_files_are_asked_for() -> None:
    assert set(MANIFEST["permissions"]) == {"files", "clipboard"}


def test_one_line_texts_end_without_punctuation() -> None:
    for text in (MANIFEST["tagline"], *MANIFEST["permissions"].values()):
        assert len(text) <= 64 and text[-1].isalnum()


def test_no_network_code() -> None:
    """No module of the extension may open a connection."""
    for folder in ("inference", "operators", "panels"):
        for path in (ROOT / folder).rglob("*.py"):
            text = path.read_text(encoding="utf-8")
            assert not re.search(r"\b(import|from) (socket|urllib|http|requests|ssl|ftplib)\b", text), path
