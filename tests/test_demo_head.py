# SPDX-License-Identifier: GPL-3.0-or-later
"""The demo head: nothing of FLAME's mesh is left in it, and its sparse map moves lips, jaw and lids as it should."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import ROOT

from inference import arkit_basis

FOLDER = ROOT / "vendored_models" / "demo_head"
SPEECH = ROOT / "vendored_models" / "demo_speech"
MM = 0.001


@dataclass(frozen=True)
class Head:
    """The arrays of head.npz, and what follows from them."""

    arrays: dict[str, np.ndarray]

    @property
    def points(self) -> np.ndarray:
        return self.arrays["points"]

    def vertices_of(self, material: str) -> np.ndarray:
        index = list(self.arrays["materials"]).index(material)
        return np.unique(self.arrays["faces"][self.arrays["material"] == index])

    def moved(self, **weights: float) -> np.ndarray:
        """Offsets (N, 3) of a mix of ARKit shapes, by the map, row by row."""
        names, deltas = arkit_basis()
        offsets = sum(w * deltas[names.index(n)] for n, w in weights.items())
        start = self.arrays["map_row_start"]
        rows = np.repeat(np.arange(len(start) - 1), np.diff(start))
        result = np.zeros_like(self.points)
        np.add.at(result, rows, self.arrays["map_weight"][:, None] * offsets[self.arrays["map_vertex"]])
        return result


@pytest.fixture(scope="module")
def head() -> Head:
    with np.load(FOLDER / "head.npz", allow_pickle=False) as file:
        return Head({name: file[name] for name in file.files})


def edges_of(faces: np.ndarray) -> np.ndarray:
    pairs = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    return np.unique(np.sort(pairs, axis=1), axis=0)


def test_arrays_belong_together(head: Head) -> None:
    a = head.arrays
    count, triangles = len(a["points"]), len(a["faces"])
    assert np.isfinite(a["points"]).all() and np.isfinite(a["map_weight"]).all() and np.isfinite(a["strands"]).all()
    assert a["faces"].min() == 0 and a["faces"].max() == count - 1
    assert a["material"].shape == (triangles,) and a["material"].max() == len(a["materials"]) - 1
    assert a["colour"].shape == (count, 3)
    assert a["map_row_start"].shape == (count + 1,) and (np.diff(a["map_row_start"]) >= 0).all()
    assert a["map_row_start"][-1] == len(a["map_vertex"]) == len(a["map_weight"])
    assert a["map_vertex"].max() < 5023
    assert (FOLDER / "head.npz").stat().st_size < 4e6


def test_no_vertex_is_a_flame_vertex(head: Head) -> None:
    """A vertex that one FLAME vertex alone drives would be that vertex, or a hair's root on it."""
    skin = head.vertices_of("skin")
    single = np.diff(head.arrays["map_row_start"])[skin] == 1
    assert single.mean() < 0.001


def test_no_flame_geometry_is_left(head: Head, shared: Path) -> None:
    spatial = pytest.importorskip("scipy.spatial")
    from training.demo_head.flame import HEAD_VERTICES, SPREAD, Flame

    tree = spatial.cKDTree(head.points)
    for spread in (0.0, SPREAD):  # the template itself, and the identity that the head was made from
        flame = Flame.load(shared / "flame", spread=spread)
        distance, nearest = tree.query(flame.points[:HEAD_VERTICES])
        assert (distance < 0.01 * MM).mean() < 0.001
        ours = {tuple(face) for face in np.sort(head.arrays["faces"], axis=1).tolist()}
        near = distance[flame.head_faces].max(axis=1) < 0.05 * MM
        theirs = {tuple(face) for face in np.sort(nearest[flame.head_faces[near]], axis=1).tolist()}
        assert not ours & theirs


def test_teeth_follow_the_jaw_and_only_the_jaw(head: Head) -> None:
    teeth = head.vertices_of("teeth")
    opened = head.moved(jawOpen=1.0)[teeth]
    drop = np.linalg.norm(opened, axis=1)
    lower = drop > 5 * MM
    assert 0.4 < lower.mean() < 0.6, "one of the two rows moves"
    assert (drop[~lower] == 0).all(), "the upper row stands still"
    assert opened[lower][:, 1].mean() < -15 * MM
    before, after = head.points[teeth][lower], (head.points[teeth] + opened)[lower]
    pick = np.random.default_rng(0).integers(0, len(before), (500, 2))
    lengths = [np.linalg.norm(p[pick[:, 0]] - p[pick[:, 1]], axis=1) for p in (before, after)]
    assert np.abs(lengths[1] - lengths[0]).max() < 1.5 * MM, "a row of teeth does not bend"
    for name in ("mouthPucker", "mouthFunnel", "mouthSmileLeft", "mouthRollLower", "mouthClose"):
        assert np.linalg.norm(head.moved(**{name: 1.0})[teeth], axis=1).max() < 1.5 * MM, name


def test_the_lips_part(head: Head) -> None:
    """No triangle bridges the mouth: none is torn long when the jaw opens."""
    index = list(head.arrays["materials"]).index("skin")
    edges = edges_of(head.arrays["faces"][head.arrays["material"] == index])
    after = head.points + head.moved(jawOpen=1.0)
    length = np.linalg.norm(after[edges[:, 0]] - after[edges[:, 1]], axis=1)
    assert length.max() < 12 * MM
    front = head.vertices_of("skin")
    front = front[(np.abs(head.points[front, 0]) < 3 * MM) & (head.points[front, 2] > 45 * MM)]
    fall = -head.moved(jawOpen=1.0)[front, 1]
    height = head.points[front, 1]
    below, above = fall > 20 * MM, fall < 3 * MM
    assert below.any() and above.any()
    assert height[above & (height < -30 * MM)].min() - height[below].max() + 4 * MM > 0, "the lips meet at rest"


def test_correctives_are_for_the_lids(head: Head) -> None:
    a = head.arrays
    names = arkit_basis()[0]
    assert set(a["corrective_names"]) == {"eyeBlinkLeft", "eyeBlinkRight"} <= set(names)
    for k in range(len(a["corrective_names"])):
        rows = slice(*a["corrective_row_start"][k : k + 2])
        touched = head.points[a["corrective_vertex"][rows]]
        side = 1 if a["corrective_names"][k] == "eyeBlinkLeft" else -1
        eye = head.vertices_of("cornea")
        eye = head.points[eye[side * head.points[eye, 0] > 0]].mean(axis=0)
        strong = np.linalg.norm(a["corrective_offset"][rows], axis=1) > 0.2 * MM
        assert strong.sum() > 100
        assert np.linalg.norm(touched[strong] - eye, axis=1).max() < 30 * MM, "they lie around the eye"
        assert np.linalg.norm(a["corrective_offset"][rows], axis=1).max() < 5 * MM


def test_speech_and_its_phones() -> None:
    sound, rate = soundfile.read(SPEECH / "speech.flac")
    about = json.loads((SPEECH / "speech.json").read_text(encoding="utf-8"))
    phones = about["phones"]
    assert sound.ndim == 1 and 4 < len(sound) / rate < 7
    assert abs(phones[-1][1] - len(sound) / rate) < 0.03
    assert all(before[1] == after[0] for before, after in pairwise(phones))
    assert {"P", "B", "M", "F", "V", "W", "UW"} <= {phone for _, _, phone in phones}
