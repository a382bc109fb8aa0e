# SPDX-License-Identifier: GPL-3.0-or-later
"""Build the demo head under vendored_models/demo_head from FLAME 2023 Open and the ARKit deltas.

    python -m training.build_demo_head --flame FOLDER [--out vendored_models/demo_head]

FOLDER holds `flame2023open_subset.npz` and `arkit_deltas.npz`. What is written has none of FLAME's vertices nor
faces: see `training/demo_head/skin.py`. Needs gpytoolbox, scipy and matplotlib.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import scipy.sparse as sp

from .demo_head.clothes import build_jumper
from .demo_head.eyes import build_eyes
from .demo_head.flame import Flame
from .demo_head.hairs import build_hairs
from .demo_head.mouth import build_mouth
from .demo_head.paint import paint_skin
from .demo_head.part import Part
from .demo_head.skin import build_skin

SEED, SPREAD = 15, 0.8  # the identity: chosen by eye among a dozen


def build(flame_folder: Path) -> list[Part]:
    """All parts of the head, in the order in which their vertices are stored."""
    flame = Flame.load(flame_folder, SEED, SPREAD)
    generator = np.random.default_rng(SEED)
    skin = build_skin(flame)
    surface = Part(skin.points, skin.faces, "skin", paint_skin(flame, skin), skin.weights)
    return [surface, *build_mouth(flame), *build_eyes(flame, generator), *build_hairs(flame, skin, generator),
            build_jumper(flame)]


def save(parts: list[Part], path: Path) -> None:
    """Join the parts and write one npz: no pickles, float32 positions, float16 weights, bytes for colours."""
    materials = list(dict.fromkeys(p.material for p in parts))
    first = np.cumsum([0] + [len(p.points) for p in parts])
    weights = sp.csr_matrix(sp.vstack([p.weights for p in parts]))
    weights.sort_indices()
    np.savez_compressed(
        path,
        points=np.concatenate([p.points for p in parts]).astype(np.float32),
        faces=np.concatenate([p.faces + k for p, k in zip(parts, first[:-1], strict=True)]).astype(np.int32),
        material=np.concatenate([np.full(len(p.faces), materials.index(p.material)) for p in parts]).astype(np.uint8),
        materials=np.array(materials),
        colour=np.round(255 * np.concatenate([p.colour for p in parts]) ** (1 / 2.2)).astype(np.uint8),
        map_row_start=weights.indptr.astype(np.int32),
        map_vertex=weights.indices.astype(np.uint16),
        map_weight=weights.data.astype(np.float32),
    )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--flame", type=Path, required=True, help="folder of the FLAME reference data")
    parser.add_argument("--out", type=Path, default=Path("vendored_models/demo_head"))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    parts = build(arguments.flame)
    save(parts, arguments.out / "head.npz")
    for part in parts:
        print(f"{part.material:8s} {len(part.points):6d} vertices {len(part.faces):6d} faces")


if __name__ == "__main__":
    main()
