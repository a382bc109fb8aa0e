# SPDX-License-Identifier: GPL-3.0-or-later
"""The demo head as a Blender object with ARKit-named shape keys."""

from __future__ import annotations

import math
from pathlib import Path

import bpy
import numpy as np
from numpy.typing import NDArray

FLAME_TO_BLENDER = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]], dtype=np.float32)  # +Y up, +Z forward -> +Z up, -Y
TURN = -12.0  # degrees: a little towards the key light
HAIR_RADIUS = 0.00042  # metres: thicker than real hair, because there are fewer


def build_head(folder: Path, names: tuple[str, ...], deltas: NDArray[np.float32]) -> bpy.types.Object:
    """Make the head of `folder` with one shape key per name; `deltas` (K,5023,3) in metres, FLAME order and axes.

    Every vertex follows a weighted sum of FLAME offsets (the stored sparse map).
    """
    with np.load(folder / "head.npz", allow_pickle=False) as file:
        head = {key: file[key] for key in file.files}
    points = head["points"] @ FLAME_TO_BLENDER.T
    mesh = bpy.data.meshes.new("Demo Head")
    mesh.from_pydata(points, [], head["faces"])
    mesh.polygons.foreach_set("use_smooth", np.ones(len(head["faces"]), dtype=bool))
    mesh.polygons.foreach_set("material_index", head["material"].astype(np.int32))
    colour = mesh.attributes.new("Col", "FLOAT_COLOR", "POINT")
    rgba = np.ones((len(points), 4), dtype=np.float32)
    rgba[:, :3] = (head["colour"] / 255.0) ** 2.2
    colour.data.foreach_set("color", rgba.ravel())
    for material in head["materials"]:
        mesh.materials.append(bpy.data.materials.new(str(material)))
    mesh.update()
    head_object = bpy.data.objects.new("Demo Head", mesh)
    head_object.rotation_euler[2] = math.radians(TURN)
    bpy.context.scene.collection.objects.link(head_object)
    head_object.shape_key_add(name="Basis", from_mix=False)
    for name, delta in zip(names, deltas, strict=True):
        key = head_object.shape_key_add(name=name, from_mix=False)
        moved = points + (follow(head, delta) + corrective(head, name)) @ FLAME_TO_BLENDER.T
        key.data.foreach_set("co", moved.astype(np.float32).ravel())
        key.value = 0.0  # Blender 5 begins with 1
    _add_hair(head_object, head["strands"].astype(np.float32) @ FLAME_TO_BLENDER.T)
    return head_object


def _add_hair(head_object: bpy.types.Object, strands: NDArray[np.float32]) -> None:
    """Strands (S,P,3) as a curves object that goes where the head goes."""
    count, points = strands.shape[:2]
    curves = bpy.data.hair_curves.new("Hair")
    curves.add_curves([points] * count)
    curves.points.foreach_set("position", strands.ravel())
    taper = np.tile(np.linspace(1.0, 0.35, points, dtype=np.float32), count)
    curves.points.foreach_set("radius", taper * HAIR_RADIUS)
    curves.materials.append(bpy.data.materials.new("strand"))
    hair = bpy.data.objects.new("Hair", curves)
    hair.parent = head_object
    bpy.context.scene.collection.objects.link(hair)


def follow(head: dict[str, NDArray], offsets: NDArray[np.float32]) -> NDArray[np.float32]:
    """Offsets (N,3) of the head's vertices from FLAME offsets (5023,3): a sparse matrix product, row by row."""
    start = head["map_row_start"]
    terms = head["map_weight"][:, None] * offsets[head["map_vertex"]]
    sums = np.concatenate([np.zeros((1, 3)), np.cumsum(terms, axis=0, dtype=np.float64)])
    return (sums[start[1:]] - sums[start[:-1]]).astype(np.float32)


def corrective(head: dict[str, NDArray], name: str) -> NDArray[np.float32]:
    """Offsets (N,3) in metres that a key needs beyond the map: lids that close over the eyeballs."""
    offsets = np.zeros_like(head["points"])
    for k in np.flatnonzero(head["corrective_names"] == name):
        rows = slice(*head["corrective_row_start"][k : k + 2])
        offsets[head["corrective_vertex"][rows]] = head["corrective_offset"][rows]
    return offsets
