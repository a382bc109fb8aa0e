# SPDX-License-Identifier: GPL-3.0-or-later
"""The FLAME template itself (needs the reference folder), in every unit, orientation and file format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bpy
import numpy as np
import pytest
from heads import add_key, add_mesh, fingerprint, fit_of, largest_error, motion_of

EXACT = 2e-5  # metres
Z_UP = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])  # FLAME's +Y up becomes Blender's +Z up


@pytest.fixture
def template(flame: dict[str, np.ndarray]) -> bpy.types.Object:
    return add_mesh("Head", flame["vertices"], flame["faces"])


def test_template(template: bpy.types.Object, settings: Any, toy_folder: Path, speech_file: Path) -> None:
    bpy.context.scene.render.fps = 50
    bpy.ops.wav2sem.generate_lipsync()
    fit = fit_of(template)
    assert fit.warning is None
    np.testing.assert_allclose(fit.linear, np.eye(3), atol=1e-4)
    assert largest_error(template, motion_of(toy_folder, speech_file), fit, 1) < EXACT


@pytest.mark.parametrize("unit", [0.001, 1.0, 100.0, 1000.0])
@pytest.mark.parametrize("turn", ["y up", "z up", "askew"])
def test_unit_and_orientation(
    unit: float, turn: str, flame: dict[str, np.ndarray], settings: Any, toy_folder: Path, speech_file: Path
) -> None:
    linear = {"y up": np.eye(3), "z up": Z_UP, "askew": np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))[0]}
    linear = unit * linear[turn] * np.sign(np.linalg.det(linear[turn]))
    head = add_mesh("Head", flame["vertices"] @ linear.T + 2 * unit, flame["faces"])
    bpy.ops.wav2sem.generate_lipsync()
    fit = fit_of(head)
    np.testing.assert_allclose(fit.linear, linear, atol=1e-3 * unit)
    assert largest_error(head, motion_of(toy_folder, speech_file), fit, 1) < EXACT


def test_any_identity(flame: dict[str, np.ndarray], settings: Any, toy_folder: Path, speech_file: Path) -> None:
    identity = flame["identities"] @ np.random.default_rng(5).normal(size=60)
    head = add_mesh("Head", flame["vertices"] + identity, flame["faces"])
    bpy.ops.wav2sem.generate_lipsync()
    assert largest_error(head, motion_of(toy_folder, speech_file), fit_of(head), 1) < EXACT


@pytest.mark.parametrize("applied", [False, True])
def test_object_transform(
    applied: bool, template: bpy.types.Object, settings: Any, toy_folder: Path, speech_file: Path
) -> None:
    template.scale, template.rotation_euler, template.location = (10, 10, 10), (1.5708, 0, 0), (1, 2, 3)
    if applied:
        template.select_set(True)
        bpy.ops.object.transform_apply(location=True, rotation=True, scale=True)
    bpy.ops.wav2sem.generate_lipsync()
    assert largest_error(template, motion_of(toy_folder, speech_file), fit_of(template), 1) < EXACT


def test_the_chin_goes_down(template: bpy.types.Object, settings: Any) -> None:
    bpy.ops.wav2sem.generate_lipsync()
    rest, jaw = (template.data.shape_keys.key_blocks[name].data for name in ("Basis", "jawOpen"))
    travel = np.array([jaw[i].co - rest[i].co for i in range(5023)])
    furthest = travel[np.linalg.norm(travel, axis=1).argmax()]
    assert furthest[1] < -0.02
    assert abs(furthest[0]) < 0.02 * np.linalg.norm(furthest), "never sideways"


def ply(path: Path) -> bpy.types.Object:
    bpy.ops.wm.ply_export(filepath=str(path))
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    bpy.ops.wm.ply_import(filepath=str(path))
    return bpy.context.object


def obj(path: Path) -> bpy.types.Object:
    bpy.ops.wm.obj_export(filepath=str(path), export_materials=False)
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    bpy.ops.wm.obj_import(filepath=str(path))
    return bpy.context.object


def glb(path: Path) -> bpy.types.Object:
    bpy.ops.export_scene.gltf(filepath=str(path), export_normals=False, export_materials="NONE")
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    bpy.ops.import_scene.gltf(filepath=str(path))
    return bpy.context.object


@pytest.mark.parametrize("through", [ply, obj, glb])
def test_file_formats(
    through: Any, template: bpy.types.Object, toy_folder: Path, speech_file: Path, tmp_path: Path
) -> None:
    head = through(tmp_path / f"head.{through.__name__}")
    bpy.context.view_layer.objects.active = head
    bpy.context.scene.wav2sem_lipsync.audio_path = str(speech_file)
    bpy.ops.wav2sem.generate_lipsync()
    assert largest_error(head, motion_of(toy_folder, speech_file), fit_of(head), 1) < EXACT


def test_vertices_in_another_order_are_refused(flame: dict[str, np.ndarray], settings: Any) -> None:
    order = np.random.default_rng(0).permutation(5023)
    back = np.argsort(order)
    add_mesh("Shuffled", flame["vertices"][order], back[flame["faces"]])
    before = fingerprint()
    with pytest.raises(RuntimeError, match="another order"):
        bpy.ops.wav2sem.generate_lipsync()
    assert fingerprint() == before


def test_existing_keys_are_driven_and_not_reshaped(template: bpy.types.Object, settings: Any) -> None:
    template.shape_key_add(name="Rest")
    jaw = add_key(template, "jawOpen")
    jaw.data[0].co.x += 0.5
    frown = add_key(template, "frown")
    frown.data[7].co.y -= 0.25
    frown.value = 0.5
    frown.relative_key = jaw
    template.active_shape_key_index = 2
    shapes = {key.name: [tuple(point.co) for point in key.data] for key in template.data.shape_keys.key_blocks}
    bpy.ops.wav2sem.generate_lipsync()
    blocks = template.data.shape_keys.key_blocks
    for name, shape in shapes.items():
        assert [tuple(point.co) for point in blocks[name].data] == shape
    assert (frown.value, frown.relative_key, template.active_shape_key_index) == (0.5, jaw, 2)
    assert {"mouthClose", "mouthFunnel"} <= set(blocks.keys())
    assert [key.name for key in blocks].count("jawOpen") == 1
    new = blocks["mouthClose"]
    assert new.relative_key == blocks["Rest"]
    assert max((new.data[i].co - blocks["Rest"].data[i].co).length for i in range(5023)) < 0.05


@pytest.mark.parametrize("pinned", [False, True])
def test_new_keys_do_not_take_over_what_was_edited_last(
    pinned: bool, template: bpy.types.Object, settings: Any, toy_folder: Path, speech_file: Path
) -> None:
    """An active key with a shape of its own, left in Edit Mode, must not leak into the new ones."""
    template.shape_key_add(name="Basis")
    key = add_key(template, "bump")
    for point in key.data:
        point.co.z += 1.0
    template.active_shape_key_index = 1
    template.show_only_shape_key = pinned
    bpy.ops.object.mode_set(mode="EDIT")
    bpy.ops.object.mode_set(mode="OBJECT")
    bpy.ops.wav2sem.generate_lipsync()
    assert template.show_only_shape_key == pinned
    state = bpy.context.window_manager.wav2sem_job
    assert ("pinned" in state.message) == pinned
    template.show_only_shape_key = False
    assert largest_error(template, motion_of(toy_folder, speech_file), fit_of(template), 1) < EXACT
