# SPDX-License-Identifier: GPL-3.0-or-later
"""The demo head in Blender: its keys are the map's, the product animates it, its rig keeps it in place."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import bpy
import numpy as np
import pytest
from wav2sem_lipsync.inference import ModelPackage, arkit_basis
from wav2sem_lipsync.operators import audio_source, bake, lipsync_task, target_mesh

from demo import life
from demo.head import FLAME_TO_BLENDER, build_head

FOLDER = Path(__file__).resolve().parents[2] / "vendored_models" / "demo_head"


@pytest.fixture
def head() -> bpy.types.Object:
    return build_head(FOLDER, *arkit_basis())


def coordinates(data: bpy.types.bpy_prop_collection) -> np.ndarray:
    flat = np.empty(len(data) * 3, np.float32)
    data.foreach_get("co", flat)
    return flat.reshape(-1, 3)


def evaluated(obj: bpy.types.Object) -> np.ndarray:
    bpy.context.view_layer.update()
    mesh = obj.evaluated_get(bpy.context.evaluated_depsgraph_get()).to_mesh()
    points = coordinates(mesh.vertices)
    obj.evaluated_get(bpy.context.evaluated_depsgraph_get()).to_mesh_clear()
    return points


def test_a_key_is_the_map_times_the_delta(head: bpy.types.Object) -> None:
    names, deltas = arkit_basis()
    with np.load(FOLDER / "head.npz", allow_pickle=False) as file:
        start, vertex, weight = (file[f"map_{name}"] for name in ("row_start", "vertex", "weight"))
    blocks = head.data.shape_keys.key_blocks
    assert [key.name for key in blocks[1:]] == list(names)
    moved = coordinates(blocks["jawOpen"].data) - coordinates(blocks["Basis"].data)
    delta = deltas[names.index("jawOpen")]
    for row in np.random.default_rng(3).integers(0, len(start) - 1, 50):
        columns = slice(start[row], start[row + 1])
        expected = FLAME_TO_BLENDER @ (weight[columns] @ delta[vertex[columns]])
        np.testing.assert_allclose(moved[row], expected, atol=2e-6)


def test_it_speaks_by_its_arkit_keys(head: bpy.types.Object, speech_file: Path, toy_folder: Path) -> None:
    target = target_mesh.read_target(head)
    assert target.fit is None and len(target.keys) == 55
    task = lipsync_task.prepare(
        bpy.context.scene,
        head,
        audio_source.from_file(str(speech_file)),
        ModelPackage.read(toy_folder),
        lipsync_task.Options(),
    )
    report = bake.write(task, task.compute(lambda part, stage: None, lambda: False))
    assert report.moves and report.keys > 0


def test_the_rig_leaves_the_rest_pose_alone(head: bpy.types.Object) -> None:
    hair = next(child for child in head.children if child.type == "CURVES")
    bpy.context.view_layer.update()
    before, world, hair_world = evaluated(head), head.matrix_world.copy(), hair.matrix_world.copy()
    life.add_head_bone(head)
    np.testing.assert_allclose(evaluated(head), before, atol=1e-5)
    np.testing.assert_allclose(np.array(head.matrix_world), np.array(world), atol=1e-6)
    np.testing.assert_allclose(np.array(hair.matrix_world), np.array(hair_world), atol=1e-5)


def test_hair_and_skin_turn_together(head: bpy.types.Object) -> None:
    hair = next(child for child in head.children if child.type == "CURVES")
    bpy.context.view_layer.update()
    crown = int(np.argmax(coordinates(head.data.vertices)[:, 2]))
    rest_skin, rest_hair = head.matrix_world @ head.data.vertices[crown].co, hair.matrix_world.copy()
    rig = life.add_head_bone(head)
    rig.pose.bones["Head"].rotation_mode = "XYZ"
    rig.pose.bones["Head"].rotation_euler = (0.1, 0.2, -0.1)
    turned = evaluated(head)[crown]
    by_hair = hair.matrix_world @ rest_hair.inverted() @ rest_skin
    np.testing.assert_allclose(np.array(head.matrix_world) @ [*turned, 1], [*by_hair, 1], atol=1e-4)


def test_the_demo_speaks_without_the_extension_enabled(speech_file: Path) -> None:
    """As `make demo` does it: nothing is registered there, and the bake must not need it."""
    script = (
        "import os, bpy; from pathlib import Path; from demo import head, speak\n"
        f"face = head.build_head(Path({str(FOLDER)!r}), *speak.inference.arkit_basis())\n"
        f"said = speak.speak(bpy.context.scene, face, Path({str(speech_file)!r}), lambda part, what: None)\n"
        "print('moves', said.report.moves, flush=True)\n"
        "os._exit(0)\n"
    )
    root = FOLDER.parents[1]
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=root, env={**os.environ, "PYTHONPATH": str(root)}, capture_output=True,
        text=True, timeout=300, check=False,
    )  # fmt: skip
    assert "moves True" in done.stdout, done.stderr
