# SPDX-License-Identifier: GPL-3.0-or-later
"""After a bake: does the mouth of the evaluated mesh really move, and if not, why?"""

from __future__ import annotations

import bpy
import numpy as np

from ..inference import CurveSet

_SILENT = 0.02  # change of weight below which nothing needs to move
_LEAST = 0.2  # share of the expected movement that counts as moving

Weights = dict[str, float]


def problem(scene: bpy.types.Scene, obj: bpy.types.Object, curves: CurveSet) -> str:
    """One sentence on why the mouth does not move as baked; empty when it does, or when the speech is silent.

    Compares the evaluated mesh at the frames with the least and the most weight; the current frame is kept.
    """
    (closed, least), (opened, most) = _extremes(curves)
    if max(most[name] - least[name] for name in most) < _SILENT:
        return ""
    layer = _layer_with(scene, obj)
    if layer is None:
        return f"The keys are there, but “{obj.name}” is not in the scene “{scene.name}”."
    frame, part = scene.frame_current, scene.frame_subframe
    try:
        rest, _ = _evaluated(scene, layer, obj, closed)
        mouth, found = _evaluated(scene, layer, obj, opened)
    finally:
        scene.frame_set(frame, subframe=part)
    expected = _movement(obj, {name: most[name] - least[name] for name in most})
    # A modifier may change how many vertices there are from frame to frame; then there is nothing to compare.
    if rest.shape != mouth.shape or np.linalg.norm(mouth - rest, axis=1).max() >= _LEAST * expected > 0:
        return ""
    return f"The keys are there, but “{obj.name}” does not move: {_cause(obj, most, found)}."


def _layer_with(scene: bpy.types.Scene, obj: bpy.types.Object) -> bpy.types.ViewLayer | None:
    """A view layer of `scene` that evaluates `obj`."""
    for layer in scene.view_layers:
        layer.update()  # a script may have linked the object a moment ago
        if obj.name in layer.objects:
            return layer
    return None


def _cause(obj: bpy.types.Object, wanted: Weights, found: Weights) -> str:
    name = max(wanted, key=lambda key: wanted[key])
    key, data = obj.data.shape_keys.key_blocks[name], obj.data.shape_keys.animation_data
    if not obj.visible_get():
        return "it is hidden; show it"
    if obj.show_only_shape_key:
        return "one of its shape keys is pinned; switch off Solo Active Shape Key"
    if key.mute:
        return f"its shape key {name} is muted; unmute it"
    if abs(found[name] - wanted[name]) < 0.05:
        return "its shape keys have no shape of their own, or a modifier discards them"
    if key.slider_max < wanted[name]:
        return f"the range of its shape key {name} ends at {key.slider_max:g}; widen it"
    if any(track.is_solo for track in data.nla_tracks):
        return "another animation track is soloed; unstar it in the nonlinear animation editor"
    if data.nla_tracks and not data.use_nla:
        return "its animation tracks are switched off; enable them in the nonlinear animation editor"
    if data.nla_tracks and data.action is not None:
        return f"the action “{data.action.name}” plays on top of it; push that action down or mute it"
    return "something else animates its shape keys; look at their drivers and tracks"


def _extremes(curves: CurveSet) -> tuple[tuple[int, Weights], tuple[int, Weights]]:
    """Frame and weights where the weights add up to least, and to most."""
    first, last = curves.frame_range
    frames = np.arange(first, last + 1)
    table = curves.at(frames)
    rows = table.sum(axis=1)
    least, most = (
        (int(frames[row]), dict(zip(curves.names, table[row].tolist(), strict=True)))
        for row in (rows.argmin(), rows.argmax())
    )
    return least, most


def _movement(obj: bpy.types.Object, change: Weights) -> float:
    """Largest distance that a vertex travels when the weights change by `change`, mesh units."""
    blocks = obj.data.shape_keys.key_blocks
    total = np.zeros((len(obj.data.vertices), 3), np.float32)
    shape, relative = np.empty_like(total), np.empty_like(total)
    for name, value in change.items():
        if abs(value) > 1e-4:
            blocks[name].data.foreach_get("co", shape.reshape(-1))
            blocks[name].relative_key.data.foreach_get("co", relative.reshape(-1))
            total += np.float32(value) * (shape - relative)
    return float(np.linalg.norm(total, axis=1).max())


def _evaluated(
    scene: bpy.types.Scene, layer: bpy.types.ViewLayer, obj: bpy.types.Object, frame: int
) -> tuple[np.ndarray, Weights]:
    """Vertices (V, 3) at `frame` after shape keys and modifiers, in the object's space, and the keys' values."""
    scene.frame_set(frame)
    layer.update()
    evaluated = obj.evaluated_get(layer.depsgraph)
    mesh = evaluated.to_mesh()
    vertices = np.empty((len(mesh.vertices), 3), np.float32)
    mesh.vertices.foreach_get("co", vertices.reshape(-1))
    evaluated.to_mesh_clear()
    keys = obj.data.shape_keys.evaluated_get(layer.depsgraph)
    return vertices, {key.name: key.value for key in keys.key_blocks}
