# SPDX-License-Identifier: GPL-3.0-or-later
"""Command line: ``python -m training.corpus --profile small|cpu|full``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from .build import PROFILES, build

_ROOT = Path(__file__).resolve().parents[2]


def main(arguments: list[str] | None = None) -> int:
    """Parse ``arguments`` and build the corpus; 0 when all is done, 1 with a sentence on stderr otherwise."""
    parser = argparse.ArgumentParser(
        prog="python -m training.corpus", description="Make or resume the training corpus."
    )
    parser.add_argument("--profile", choices=PROFILES, default="small")
    parser.add_argument("--cache", type=Path, default=_ROOT / "training" / "cache", help="where the corpus goes")
    parser.add_argument("--speech", type=Path, default=_ROOT.parent / "shared" / "speech", help="real speech and texts")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    if not (options.speech / "manifest.csv").exists():
        print(f"There is no manifest.csv in {options.speech}; name the folder with --speech.", file=sys.stderr)
        return 1
    try:
        options.cache.mkdir(parents=True, exist_ok=True)
        (options.cache / "clips.jsonl").touch()
    except OSError as problem:
        print(f"“{options.cache}” cannot be written ({problem.strerror}); give another --cache.", file=sys.stderr)
        return 1
    try:
        build(options.cache, options.speech, PROFILES[options.profile], options.seed)
    except (OSError, ValueError) as problem:
        print(problem, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
