# SPDX-License-Identifier: GPL-3.0-or-later
"""Does the mouth of the evaluated mesh really move, and if not, why? After every bake, and whenever one asks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

import bpy
import numpy as np

from ..inference import CacheError
from . import causes_modifiers, causes_played, causes_shown, unkeyed, vertex_cache
from .causes import Cause, Face
from .frames import shown_at
from .playing import Part, parts_of

_LEAST = 0.2  # share of the expected movement that counts as moving
_SILENT = 0.02  # change of a shape key's value below which nothing needs to move
_STILL = 1e-5  # of the size of the mesh: a cache in which vertices travel less moves nothing
_MOST_FRAMES = 400  # at which the animation is looked at to find its extremes


@dataclass(frozen=True)
class Verdict:
    """What is known of a mouth. moves: it does as it should, or there is nothing that it should do."""

    moves: bool
    causes: tuple[Cause, ...]


def diagnose(scene: bpy.types.Scene, obj: bpy.types.Object) -> Verdict:
    """Whether the lip sync of `obj` shows, and all that stands in its way.

    Of several, the one at the current frame is judged: the mesh is evaluated at the two frames between which it should
    move most. The current frame is kept, and so is what the animator has posed there without a key.
    """
    with unkeyed.kept():
        return _judged(scene, obj, scene.frame_current_final)


def _judged(scene: bpy.types.Scene, obj: bpy.types.Object, frame: float) -> Verdict:
    face = look(scene, obj)
    causes = [*_checked(face, playback=False)]
    should = _extremes(face, frame)
    moves = not any(cause.id in ("nothing", "unassigned", "displaced", "frozen") for cause in causes)
    if face.layer is None:
        moves = False
    elif should is not None:
        moves = should[2] > 0 and _moves(face, *should)
        if not moves and not causes:
            causes = [_here(cause) for cause in _last_resort(face, *should)]
    return Verdict(moves, (*causes, *_checked(face, playback=True)))


def problem(scene: bpy.types.Scene, obj: bpy.types.Object, frame: float) -> str:
    """One sentence on why what was just baked at `frame` does not show; empty when it does, or for silent speech."""
    with unkeyed.kept(obj.data.shape_keys):
        verdict = _judged(scene, obj, frame)
    if verdict.moves:
        return ""
    found = next((cause for cause in verdict.causes if not cause.playback), verdict.causes[0])
    there = "keys are" if obj.data.shape_keys and parts_of(obj.data.shape_keys) else "cache is"
    return f"The {there} there, but “{obj.name}” does not move: {found.clause}."


def headline(obj: bpy.types.Object, verdict: Verdict) -> str:
    """One sentence on what was found."""
    if not verdict.moves:
        return f"The mouth of “{obj.name}” does not move."
    if verdict.causes:
        return f"The mouth of “{obj.name}” moves; this may keep you from seeing it."
    return f"The mouth of “{obj.name}” moves as it should."


def look(scene: bpy.types.Scene, obj: bpy.types.Object) -> Face:
    """What the checks need to know of `obj`."""
    current, layer = bpy.context.view_layer, None
    for each in sorted(scene.view_layers, key=lambda each: each != current):
        each.update()  # a script may have linked the object a moment ago
        if layer is None and obj.name in each.objects:
            layer = each
    return Face(scene, layer, obj, tuple(parts_of(obj.data.shape_keys)), vertex_cache.find(obj))


def _checked(face: Face, playback: bool) -> Iterable[Cause]:
    """Each once, though several lines may lie in one track or under one strip."""
    checks = (*causes_shown.CHECKS, *causes_played.CHECKS, *causes_modifiers.CHECKS, *causes_shown.PLAYBACK_CHECKS)
    found = (cause for check in checks for cause in check(face) if cause.playback == playback)
    return {(cause.id, cause.subject): _here(cause) for cause in found}.values()


def _here(cause: Cause) -> Cause:
    """`cause`, without its remedy where that changes what is linked: Blender lets scripts do so, and forgets it."""
    if cause.changed is None or cause.changed.is_editable:
        return cause
    return replace(cause, clause=f"{cause.clause}, in the file that it is linked from", fix="", mend=None)


def _extremes(face: Face, frame: float) -> tuple[float, float, float] | None:
    """Two frames between which the mesh should move, and by how much (mesh units); None when it should not."""
    cached = face.cache is not None and face.cache.show_viewport
    ranges = [part.frame_range for part in face.parts]
    if cached:
        assert face.cache is not None
        ranges.append(vertex_cache.frame_range(face.cache))
    if not ranges:
        return None
    number = min(range(len(ranges)), key=lambda i: max(ranges[i][0] - frame, frame - ranges[i][1], 0.0))
    return _extremes_of_keys(face, face.parts[number]) if number < len(face.parts) else _extremes_of_cache(face)


def _extremes_of_keys(face: Face, part: Part) -> tuple[float, float, float] | None:
    """The same for one part of the animation; no movement where its shape keys have no shape."""
    first, last = part.frame_range
    frames = np.array(sorted(set(np.linspace(first, last, _MOST_FRAMES).round().tolist())))
    frames = frames[(frames >= first) & (frames <= last)]
    if not len(frames):
        return None
    names = list(part.curves)
    table = np.array([[part.value(name, frame) for name in names] for frame in frames])
    if np.ptp(table, axis=0).max() < _SILENT:
        return None
    deltas = _deltas(face.obj, names)
    largest = np.sqrt(np.einsum("kvi,kvi->kv", deltas, deltas).max(axis=1))  # per key: how far a unit of it goes
    rows = np.abs(table) @ largest
    low, high = int(rows.argmin()), int(rows.argmax())
    change = np.tensordot(table[high] - table[low], deltas, axes=1)
    return float(frames[low]), float(frames[high]), float(np.linalg.norm(change, axis=1).max())


def _extremes_of_cache(face: Face) -> tuple[float, float, float] | None:
    """The same for a vertex cache, at a few dozen of its samples; None when it cannot be read."""
    assert face.cache is not None
    try:
        cache = vertex_cache.opened(face.cache)
        samples = np.unique(np.linspace(0, cache.samples - 1, 48).round().astype(int))
        rest = cache.read(cache.samples - 1)  # the face has settled
        moved = [float(np.linalg.norm(cache.read(int(sample)) - rest, axis=1).max()) for sample in samples]
    except CacheError:
        return None
    if max(moved) < _STILL * _size(face.obj):
        return None
    return cache.start + cache.samples - 1, cache.start + float(samples[int(np.argmax(moved))]), max(moved)


def _moves(face: Face, low: float, high: float, expected: float) -> bool:
    with _frame_kept(face.scene):
        rest, mouth = _evaluated(face, low), _evaluated(face, high)
    # A modifier may change how many vertices there are from frame to frame; then there is nothing to compare.
    return rest.shape != mouth.shape or bool(
        len(rest) and np.linalg.norm(mouth - rest, axis=1).max() >= _LEAST * expected
    )


def _last_resort(face: Face, low: float, high: float, expected: float) -> list[Cause]:
    """What can only be found by trying: shapes that are limited by a vertex group, and modifiers that discard them."""
    if expected == 0:
        return [Cause("shapeless", face.obj.name, "its shape keys have no shape of their own; sculpt them")]
    found = []
    for modifier in list(face.obj.modifiers):
        if modifier.show_viewport and modifier != face.cache:
            modifier.show_viewport = False
            if _moves(face, low, high, expected):
                found.append(causes_modifiers.replacing(modifier))
            modifier.show_viewport = True
    blocks = [face.keys.key_blocks[name] for name in face.names] if face.keys else []
    limited = [key for key in blocks if key.vertex_group]
    if limited and not found:
        clause = f"its shape key {limited[0].name} acts on the vertex group {limited[0].vertex_group} alone; clear that"
        mend = partial(_clear_groups, limited)
        found.append(Cause("vertex_group", limited[0].name, clause, "Clear", mend, face.keys))
    generic = "something else animates its shape keys, or a modifier discards them; look at its drivers and modifiers"
    return found or [Cause("unknown", face.obj.name, generic)]


def _clear_groups(keys: list[bpy.types.ShapeKey]) -> None:
    for key in keys:
        key.vertex_group = ""


def _size(obj: bpy.types.Object) -> float:
    """Diagonal of the mesh's bounding box."""
    corners = np.array(obj.bound_box)
    return float(np.linalg.norm(corners.max(axis=0) - corners.min(axis=0)))


def _deltas(obj: bpy.types.Object, names: list[str]) -> np.ndarray:
    """What a unit of each shape key does, (K, V, 3), mesh units."""
    blocks = obj.data.shape_keys.key_blocks
    shapes = np.empty((2, len(names), len(obj.data.vertices), 3), np.float32)
    for row, name in enumerate(names):
        blocks[name].points.foreach_get("co", shapes[0, row].reshape(-1))
        blocks[name].relative_key.points.foreach_get("co", shapes[1, row].reshape(-1))
    return shapes[0] - shapes[1]


@contextmanager
def _frame_kept(scene: bpy.types.Scene) -> Iterator[None]:
    frame, part = scene.frame_current, scene.frame_subframe
    try:
        yield
    finally:
        scene.frame_set(frame, subframe=part)


def _evaluated(face: Face, frame: float) -> np.ndarray:
    """Vertices (V, 3) after shape keys and modifiers with what is keyed at `frame`, in the object's space."""
    assert face.layer is not None
    frame = shown_at(face.scene, frame)
    whole = int(np.floor(frame))
    face.scene.frame_set(whole, subframe=frame - whole)
    face.layer.update()
    evaluated = face.obj.evaluated_get(face.layer.depsgraph)
    mesh = evaluated.to_mesh()
    vertices = np.empty((len(mesh.vertices), 3), np.float32)
    mesh.vertices.foreach_get("co", vertices.reshape(-1))
    evaluated.to_mesh_clear()
    return vertices
