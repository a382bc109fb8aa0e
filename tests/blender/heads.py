# SPDX-License-Identifier: GPL-3.0-or-later
"""Heads, and looking at what a bake left: evaluated vertices, expected vertices, a fingerprint of the file."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import bpy
import numpy as np
from wav2sem_lipsync.inference import (
    FaceMotion,
    FlameTopology,
    LipSyncModel,
    MeshFit,
    arkit_basis,
    read_speech,
)
from wav2sem_lipsync.operators.strip_times import span_of


def add_mesh(name: str, vertices: np.ndarray, faces: Any) -> bpy.types.Object:
    """A mesh object in the scene, active."""
    mesh = bpy.data.meshes.new(name)
    mesh.from_pydata(np.asarray(vertices).tolist(), [], np.asarray(faces).tolist())
    return add_object(name, mesh)


def add_object(name: str, data: Any) -> bpy.types.Object:
    """An object in the scene, active."""
    obj = bpy.data.objects.new(name, data)
    bpy.context.scene.collection.objects.link(obj)
    bpy.context.view_layer.objects.active = obj
    return obj


@lru_cache(maxsize=1)
def _made_up() -> tuple[np.ndarray, np.ndarray]:
    """Vertices and triangles with FLAME's count, landmarks and smooth deltas, but nothing else of FLAME.

    Triangles join vertices that move alike, as neighbours on a face do.
    """
    topology = FlameTopology.load()
    names, deltas = arkit_basis()
    field = np.concatenate([deltas[names.index(name)] for name in ("jawOpen", "mouthClose")], axis=1)
    vertices = np.random.default_rng(0).normal(scale=0.05, size=(len(field), 3))
    vertices[topology.landmark_ids] = topology.landmark_positions
    squares = np.square(field).sum(axis=1)
    distances = squares[:, None] + squares - 2 * field @ field.T
    np.fill_diagonal(distances, np.inf)
    neighbours = np.argpartition(distances, 2, axis=1)[:, :2]
    return vertices.astype(np.float32), np.column_stack([np.arange(len(field)), neighbours])


def made_up_head(name: str = "Head", linear: np.ndarray | None = None) -> bpy.types.Object:
    """A head that passes for FLAME topology and needs no reference data."""
    vertices, faces = _made_up()
    return add_mesh(name, vertices if linear is None else vertices @ linear.T, faces)


def arkit_puppet(names: list[str], name: str = "Puppet") -> bpy.types.Object:
    """A cube-like mesh whose shape keys carry `names`, each moving one vertex by 1 along z."""
    obj = add_mesh(name, np.random.default_rng(1).normal(size=(8, 3)), [[0, 1, 2], [3, 4, 5], [5, 6, 7]])
    obj.shape_key_add(name="Basis")
    for i, key in enumerate(names):
        add_key(obj, key).data[i % 8].co.z += 1
    return obj


def add_key(obj: bpy.types.Object, name: str) -> bpy.types.ShapeKey:
    """A shape key without effect: Blender 5 gives new ones the value 1."""
    key = obj.shape_key_add(name=name, from_mix=False)
    key.value = 0.0
    return key


def evaluated(obj: bpy.types.Object, frame: float) -> np.ndarray:
    """Vertices (V, 3) of the evaluated mesh at `frame`, object space."""
    bpy.context.scene.frame_set(int(np.floor(frame)), subframe=frame - np.floor(frame))
    mesh = obj.evaluated_get(bpy.context.evaluated_depsgraph_get()).data
    vertices = np.empty((len(mesh.vertices), 3), np.float32)
    mesh.vertices.foreach_get("co", vertices.reshape(-1))
    return vertices


def rest(obj: bpy.types.Object) -> np.ndarray:
    """Vertices (V, 3) of the mesh without any shape key."""
    source = obj.data.shape_keys.reference_key.data if obj.data.shape_keys else obj.data.vertices
    vertices = np.empty((len(source), 3), np.float32)
    source.foreach_get("co", vertices.reshape(-1))
    return vertices


def motion_of(model: Path, speech: Path, **options: Any) -> FaceMotion:
    """What the model says, by the plain Python road."""
    return LipSyncModel.load(model).run(read_speech(speech), **options)


def weights_at(motion: FaceMotion, seconds: np.ndarray) -> np.ndarray:
    """Weights (n, K) at `seconds` from the beginning of the speech, interpolated here and not by the product."""
    times = np.arange(len(motion.weights)) / motion.fps
    return np.stack([np.interp(seconds, times, column) for column in motion.weights.T], axis=1)


def largest_error(
    obj: bpy.types.Object, motion: FaceMotion, fit: MeshFit, start_frame: float, base: np.ndarray | None = None
) -> float:
    """Largest distance (metres of the head) between evaluated mesh and weights · basis over the whole speech."""
    render = bpy.context.scene.render
    fps = render.fps / render.fps_base
    base = rest(obj) if base is None else base
    first = int(np.ceil(start_frame))
    last = int(np.floor(start_frame + (len(motion.weights) - 1) / motion.fps * fps))
    frames = np.arange(first, last + 1)
    wanted = weights_at(motion, (frames - start_frame) / fps)
    worst = 0.0
    for frame, weights in zip(frames, wanted, strict=True):
        offsets = np.tensordot(weights, motion.basis, axes=1) @ fit.linear.T
        worst = max(worst, float(np.linalg.norm(evaluated(obj, frame) - base - offsets, axis=1).max()))
    return worst / fit.scale


def fit_of(obj: bpy.types.Object) -> MeshFit:
    """How FLAME lies in `obj`."""
    edges = np.empty((len(obj.data.edges), 2), np.int32)
    obj.data.edges.foreach_get("vertices", edges.reshape(-1))
    return FlameTopology.load().check(rest(obj), edges)


def fingerprint() -> str:
    """Everything in the file that a bake could change, as text; a job's own words are left out."""
    scene = bpy.context.scene
    found: dict[str, Any] = {
        kind: sorted((block.name, block.users, block.use_fake_user) for block in getattr(bpy.data, kind))
        for kind in ("objects", "meshes", "shape_keys", "actions", "sounds", "scenes")
    }
    found["scene"] = [scene.frame_end, scene.frame_current, scene.sync_mode, scene.use_audio_scrub, scene.render.fps]
    editor = scene.sequence_editor
    strips = editor.strips_all if editor else ()
    found["strips"] = [[strip.name, strip.channel, *span_of(strip), strip.sound_offset] for strip in strips]
    for mesh in bpy.data.meshes:
        found[f"mesh {mesh.name}"] = [np.array([v.co for v in mesh.vertices], np.float32).tobytes().hex()]
        if mesh.shape_keys:
            found[f"keys {mesh.name}"] = [_key_state(key) for key in mesh.shape_keys.key_blocks]
            found[f"animation {mesh.name}"] = _animation_state(mesh.shape_keys.animation_data)
    found["active keys"] = [[obj.name, obj.active_shape_key_index] for obj in bpy.data.objects]
    for action in bpy.data.actions:
        found[f"action {action.name}"] = [
            [curve.data_path, [list(point.co) for point in curve.keyframe_points]]
            for layer in action.layers
            for strip in layer.strips
            for slot in action.slots
            if strip.channelbag(slot)
            for curve in strip.channelbag(slot).fcurves
        ]
    return json.dumps(found, sort_keys=True, default=str)


def _key_state(key: bpy.types.ShapeKey) -> list[Any]:
    points = np.empty(3 * len(key.data), np.float32)
    key.data.foreach_get("co", points)
    limits = [key.mute, key.slider_min, key.slider_max]
    return [key.name, key.value, *limits, key.relative_key.name, points.tobytes().hex()]


def _animation_state(data: Any) -> Any:
    if data is None:
        return None
    return {
        "action": data.action and data.action.name,
        "slot": data.action_slot and data.action_slot.identifier,
        "drivers": [driver.data_path for driver in data.drivers],
        "tracks": [
            [track.name, track.mute, [[s.name, s.action.name, s.frame_start, s.frame_end] for s in track.strips]]
            for track in data.nla_tracks
        ],
    }


def overridden(folder: Path, head: bpy.types.Object) -> bpy.types.Object:
    """`head`, written to a library and linked from a new file; object and mesh overridden here."""
    name = head.name
    bpy.data.libraries.write(str(folder / "hero.blend"), {head})
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    with bpy.data.libraries.load(str(folder / "hero.blend"), link=True) as (_, wanted):
        wanted.objects = [name]
    hero = wanted.objects[0].override_create()
    hero.data = hero.data.override_create()
    bpy.context.scene.collection.objects.link(hero)
    return hero
