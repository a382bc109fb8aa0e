# SPDX-License-Identifier: GPL-3.0-or-later
"""Build the demo head under vendored_models/demo_head from FLAME 2023 Open and the ARKit deltas.

    python -m training.build_demo_head --flame FOLDER [--out vendored_models/demo_head]

FOLDER holds `flame2023open_subset.npz` and `arkit_deltas.npz`. What is written has none of FLAME's vertices nor
faces: see `training/demo_head/skin.py`. Needs `pip install -r requirements/demo_head.txt`, no PyTorch.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from .demo_head.clothes import build_jumper, tuck_into_collar
from .demo_head.eyes import build_eyes
from .demo_head.flame import SEED, Flame
from .demo_head.hairs import build_hairs
from .demo_head.hairstyle import build_strands
from .demo_head.lids import lid_correctives
from .demo_head.mouth import build_mouth
from .demo_head.paint import skin_parts
from .demo_head.part import Part
from .demo_head.skin import build_skin


@dataclass(frozen=True)
class DemoHead:
    """Parts in the order of their vertices, blink correctives name -> (N,3) and hair strands (S,P,3); metres."""

    parts: list[Part]
    correctives: dict[str, NDArray[np.float64]]
    strands: NDArray[np.float64]


def build(flame_folder: Path) -> DemoHead:
    """Make the head from the FLAME data in `flame_folder`; the same every time."""
    flame = Flame.load(flame_folder)
    generator = np.random.default_rng(SEED)
    skin = tuck_into_collar(build_skin(flame))
    parts = [
        *skin_parts(flame, skin),
        *build_mouth(flame),
        *build_eyes(flame, generator),
        *build_hairs(flame, skin, generator),
        build_jumper(),
    ]
    return DemoHead(parts, lid_correctives(flame, parts), build_strands(skin, generator))


def save(head: DemoHead, path: Path) -> None:
    """Join the parts and write one npz without pickles; the README beside it describes the arrays."""
    parts = head.parts
    materials = list(dict.fromkeys(p.material for p in parts))
    first = np.cumsum([0] + [len(p.points) for p in parts])
    weights = sp.csr_matrix(sp.vstack([p.weights for p in parts]))
    weights.sort_indices()
    corrected = [np.flatnonzero(np.linalg.norm(c, axis=1) > 1e-5) for c in head.correctives.values()]
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
        corrective_names=np.array(list(head.correctives)),
        corrective_row_start=np.cumsum([0] + [len(c) for c in corrected]).astype(np.int32),
        corrective_vertex=np.concatenate(corrected).astype(np.int32),
        corrective_offset=np.concatenate(
            [c[k] for c, k in zip(head.correctives.values(), corrected, strict=True)]
        ).astype(np.float32),
        strands=head.strands.astype(np.float16),
    )


def main() -> None:
    """Command line."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--flame", type=Path, required=True, help="folder of the FLAME reference data")
    parser.add_argument("--out", type=Path, default=Path("vendored_models/demo_head"))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    head = build(arguments.flame)
    save(head, arguments.out / "head.npz")
    for part in head.parts:
        print(f"{part.material:8s} {len(part.points):6d} vertices {len(part.faces):6d} faces")


if __name__ == "__main__":
    main()
