# SPDX-License-Identifier: GPL-3.0-or-later
"""Command line: ``python -m training.corpus --profile small|cpu|full``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from .build import PROFILES, build
from .clips import CACHE, REAL_SPEECH


def main(arguments: list[str] | None = None) -> int:
    """Parse ``arguments`` and build the corpus; 0 when all is done, 1 with a sentence on stderr otherwise."""
    parser = argparse.ArgumentParser(
        prog="python -m training.corpus", description="Make or resume the training corpus."
    )
    parser.add_argument("--profile", choices=PROFILES, default="small")
    parser.add_argument("--cache", type=Path, default=CACHE, help="where the corpus goes")
    parser.add_argument("--speech", type=Path, default=REAL_SPEECH.parent, help="real speech and texts")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    if not (options.speech / "manifest.csv").exists():
        print(f"There is no manifest.csv in {options.speech}; name the folder with --speech.", file=sys.stderr)
        return 1
    try:
        build(options.cache, options.speech, PROFILES[options.profile], options.seed)
    except (OSError, ValueError) as problem:
        why = getattr(problem, "strerror", None)  # of the system's errors; ours are sentences
        place = f"“{getattr(problem, 'filename', None) or options.cache}”"
        print(f"{place} cannot be used ({why}); give another --cache or --speech." if why else problem, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
