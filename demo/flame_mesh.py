# SPDX-License-Identifier: GPL-3.0-or-later
"""A FLAME-topology mesh of the user's: imported, brought before the camera, and coloured."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import addon_utils
import bpy
import numpy as np
from mathutils import Matrix
from numpy.typing import NDArray

from .head import FLAME_TO_BLENDER, TURN
from .render import quiet

EYEBALLS = ((3931, 4477), (4477, 5023))
SKIN, LIPS, SCLERA = (0.56, 0.335, 0.235), (0.41, 0.15, 0.125), (0.74, 0.70, 0.67)
IRIS, PUPIL = (0.07, 0.10, 0.10), (0.004, 0.004, 0.004)


def import_head(path: Path, inference: Any) -> bpy.types.Object:
    """Import a mesh and stand it in front of the set; raises MeshError when it is no FLAME head."""
    _import(path, inference.MeshError)
    meshes = [thing for thing in bpy.context.scene.objects if thing.type == "MESH"]
    if not meshes:
        raise inference.MeshError(f"There is no mesh in “{path.name}”; choose another file.")
    head = max(meshes, key=lambda thing: len(thing.data.vertices))
    vertices = np.empty((len(head.data.vertices), 3), np.float32)
    head.data.vertices.foreach_get("co", vertices.reshape(-1))
    edges = np.empty((len(head.data.edges), 2), np.int32)
    head.data.edges.foreach_get("vertices", edges.reshape(-1))
    fit = inference.FlameTopology.load().check(vertices, edges)
    _stand_before_camera(head, fit)
    _colour(head, (vertices - fit.offset) @ np.linalg.inv(fit.linear).T, inference)
    return head


def _import(path: Path, error: type[Exception]) -> None:
    if not path.is_file():
        raise error(f"There is no file “{path}”; choose a PLY, OBJ or GLB with a FLAME head.")
    addon_utils.enable("io_scene_gltf2")
    importers = {
        ".ply": lambda name: bpy.ops.wm.ply_import(filepath=name),
        ".obj": lambda name: bpy.ops.wm.obj_import(filepath=name),
        ".glb": lambda name: bpy.ops.import_scene.gltf(filepath=name),
        ".gltf": lambda name: bpy.ops.import_scene.gltf(filepath=name),
    }
    if path.suffix.lower() not in importers:
        raise error(f"“{path.name}” is not a PLY, OBJ or GLB file; convert it to one of these.")
    try:
        with quiet():
            importers[path.suffix.lower()](str(path))
    except RuntimeError as problem:
        raise error(f"“{path.name}” cannot be imported; is it damaged?") from problem


def _stand_before_camera(head: bpy.types.Object, fit: Any) -> None:
    """Put the head under an empty that undoes its own unit, place and orientation (a similarity)."""
    to_mesh = Matrix(np.vstack([np.column_stack([fit.linear, fit.offset]), [0, 0, 0, 1]]).tolist())
    stand = bpy.data.objects.new("Stand", None)
    bpy.context.scene.collection.objects.link(stand)
    bpy.context.view_layer.update()
    own = head.matrix_world.copy()
    root = head
    while root.parent is not None:
        root = root.parent
    root.parent = stand
    turn = Matrix.Rotation(math.radians(TURN), 4, "Z")
    stand.matrix_world = turn @ Matrix(FLAME_TO_BLENDER.tolist()).to_4x4() @ to_mesh.inverted() @ own.inverted()
    bpy.context.view_layer.update()


def _colour(head: bpy.types.Object, points: NDArray[np.float64], inference: Any) -> None:
    """Skin, lips and eyes as a colour per vertex; `points` (5023,3) in FLAME's axes and metres."""
    mesh = head.data
    colour = np.tile(np.array(SKIN), (len(points), 1))
    lips = _soft(mesh, list(inference.ModelPackage.read(inference.EMBEDDED_MODEL).lip_vertices))
    colour += 0.6 * lips[:, None] ** 2 * (np.array(LIPS) - SKIN)
    for first, last in EYEBALLS:
        ball = points[first:last]
        centre = ball.mean(0)
        from_axis = np.where(ball[:, 2] > centre[2], np.hypot(*(ball - centre)[:, :2].T), 1)
        colour[first:last] = np.where((from_axis < 0.0058)[:, None], IRIS, SCLERA)
        colour[first:last][from_axis < 0.0022] = PUPIL
    attribute = mesh.attributes.new("Col", "FLOAT_COLOR", "POINT")
    attribute.data.foreach_set("color", np.column_stack([colour, np.ones(len(points))]).astype(np.float32).ravel())
    mesh.materials.clear()
    mesh.materials.append(bpy.data.materials.new("skin"))
    mesh.materials.append(bpy.data.materials.new("eye"))
    corner = np.array([polygon.vertices[0] for polygon in mesh.polygons])
    mesh.polygons.foreach_set("material_index", (corner >= EYEBALLS[0][0]).astype(np.int32))
    mesh.polygons.foreach_set("use_smooth", np.ones(len(corner), dtype=bool))


def _soft(mesh: bpy.types.Mesh, chosen: list[int], rounds: int = 4) -> NDArray[np.float64]:
    """1 on the chosen vertices, fading out over `rounds` edges."""
    edges = np.empty(len(mesh.edges) * 2, np.int32)
    mesh.edges.foreach_get("vertices", edges)
    a, b = edges.reshape(-1, 2).T
    count = len(mesh.vertices)
    degree = np.bincount(a, minlength=count) + np.bincount(b, minlength=count)
    mask = np.zeros(count)
    mask[chosen] = 1
    for _ in range(rounds):
        around = np.bincount(a, mask[b], count) + np.bincount(b, mask[a], count)
        mask = (mask + around / np.maximum(degree, 1)) / 2
    return mask
