# SPDX-License-Identifier: GPL-3.0-or-later
"""Make vendored_models/flame: ARKit deltas in FLAME vertex order and what recognises a FLAME mesh.

    python -m training.flame_data ../shared/flame

reads flame2023open_subset.npz and arkit_deltas.npz from that folder. What is written holds neither FLAME's template
nor its face list: the deltas, a hash of the edge list, and two dozen anatomical vertices with their positions.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from inference.flame import edge_hash

MOVING = 3931  # vertices before the eyeballs, which no ARKit delta moves
# MediaPipe landmarks that sit on bone or cartilage, so that expressions hardly move them.
MEDIAPIPE = {
    "eye corner outer right": 33, "eye corner inner right": 133, "eye corner inner left": 362,
    "eye corner outer left": 263, "nose bridge": 6, "nose root": 168, "nose tip": 4, "nose base": 2,
    "brow outer right": 46, "brow outer left": 276,
}  # fmt: skip


def anatomical_vertices(template: np.ndarray, landmarks: dict[int, np.ndarray]) -> dict[str, int]:
    """Vertex ids by name, from landmark positions and from extremes of the skull (template (5023, 3), metres)."""
    head = template[:MOVING]

    def nearest(point: np.ndarray) -> int:
        return int(np.square(head - point).sum(axis=1).argmin())

    found = {name: nearest(landmarks[number]) for name, number in MEDIAPIPE.items() if number in landmarks}
    eyes = (landmarks[33] + landmarks[263]) / 2
    # Rays from the middle of the head, in degrees (azimuth from the face towards the left ear, elevation).
    centre = np.array([0.0, eyes[1], head[:, 2].mean()])
    directions = {
        "crown": (0, 90), "forehead": (0, 40), "occiput": (180, 10), "occiput low": (180, -15), "crown back": (180, 55),
        "temple left": (60, 15), "temple right": (-60, 15), "parietal left": (100, 45), "parietal right": (-100, 45),
        "mastoid left": (125, -5), "mastoid right": (-125, -5),
        "ear front left": (85, -10), "ear front right": (-85, -10),
    }  # fmt: skip
    rays = head - centre
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    for name, (azimuth, elevation) in directions.items():
        a, e = np.radians([azimuth, elevation])
        found[name] = int((rays @ [np.sin(a) * np.cos(e), np.sin(e), np.cos(a) * np.cos(e)]).argmax())
    return found


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("flame", type=Path, help="folder with flame2023open_subset.npz and arkit_deltas.npz")
    parser.add_argument("-o", "--output", type=Path, default=Path("vendored_models/flame"))
    options = parser.parse_args()
    flame = np.load(options.flame / "flame2023open_subset.npz", allow_pickle=False)
    arkit = np.load(options.flame / "arkit_deltas.npz", allow_pickle=False)
    template, faces = flame["v_template"].astype(np.float64), flame["faces"]
    landmarks = {
        int(number): weights @ template[faces[face]]
        for number, face, weights in zip(
            flame["lmk_mediapipe_idx"], flame["lmk_face_idx"], flame["lmk_b_coords"], strict=True
        )
    }
    if np.abs(arkit["deltas"][:, MOVING:]).max() > 0:
        raise SystemExit("The deltas move the eyeballs, which are left out here.")
    marks = anatomical_vertices(template, landmarks)
    topology = {
        "topology": "flame-5023",
        "edge_sha256": edge_hash(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])),
        "landmarks": [
            {"name": name, "vertex": i, "position": [round(float(x), 5) for x in template[i]]}
            for name, i in marks.items()
        ],
    }
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "topology.json").write_text(json.dumps(topology, indent=1) + "\n", encoding="utf-8")
    np.savez_compressed(
        options.output / "arkit_deltas.npz",
        names=arkit["names"],
        deltas=arkit["deltas"][:, :MOVING].astype(np.float32),
    )
    print(f"{len(marks)} anatomical vertices and {len(arkit['names'])} blendshapes written to {options.output}")


if __name__ == "__main__":
    main()
