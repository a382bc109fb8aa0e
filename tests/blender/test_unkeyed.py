# SPDX-License-Identifier: GPL-3.0-or-later
"""What the animator has posed and not keyed yet stays as it is while the mouth is looked at."""

from __future__ import annotations

from typing import Any

import bpy
import numpy as np
import pytest
from edit_tools import NAMES, curves_of, generate
from heads import arkit_puppet
from strip_tools import push_down

POSED = 0.75


def armature() -> bpy.types.Object:
    """One with a bone."""
    rig = bpy.data.objects.new("Rig", bpy.data.armatures.new("Rig"))
    bpy.context.scene.collection.objects.link(rig)
    bpy.context.view_layer.objects.active = rig
    bpy.ops.object.mode_set(mode="EDIT")
    rig.data.edit_bones.new('brow.L "x"').tail = (0, 0, 1)
    bpy.ops.object.mode_set(mode="OBJECT")
    return rig


def keyed(holder: Any, path: str, index: int = -1) -> None:
    for frame in (1, 10):
        holder.keyframe_insert(path, index=index, frame=frame)


def posed() -> list[tuple[Any, str, int]]:
    """Properties of every kind that are animated and then posed without a key: holder, name, index."""
    rig = armature()
    bone = rig.pose.bones[0]
    bone["squint"], rig["a.b"] = 0.0, [0.0, 0.0]
    material = bpy.data.materials.new("Skin")
    if material.node_tree is None:
        material.use_nodes = True
    node = material.node_tree.nodes.new("ShaderNodeValue")
    control = bpy.data.objects.new("Control", None)
    bpy.context.scene.collection.objects.link(control)
    places = [(bone, "location", 1), (bone, '["squint"]', -1), (rig, '["a.b"]', 1), (material, "roughness", -1)]
    places += [(node.outputs[0], "default_value", -1), (control, "location", 2), (control, "empty_display_size", -1)]
    for place in places:
        keyed(*place)
    push_down(control.animation_data)
    return places


def value(place: tuple[Any, str, int]) -> Any:
    holder, path, index = place
    found = holder.path_resolve(path)
    return found if index < 0 else found[index]


def pose(place: tuple[Any, str, int]) -> None:
    holder, path, index = place
    if index >= 0:
        holder.path_resolve(path)[index] = POSED
    elif path.startswith("["):
        holder["squint"] = POSED
    else:
        setattr(holder, path, POSED)


@pytest.mark.parametrize("frame", [1, 13])
def test_poses_without_keys_survive(settings: Any, frame: int) -> None:
    places = posed()
    head = arkit_puppet([*NAMES, "eyeBlinkLeft"])
    settings.target = head
    bpy.context.scene.frame_set(frame)
    for place in places:
        pose(place)
    generate()
    assert [value(place) for place in places] == [POSED] * len(places)
    blocks = head.data.shape_keys.key_blocks
    for name, curve in curves_of(head).items():  # the lip sync itself shows
        assert blocks[name].value == pytest.approx(float(np.clip(curve.evaluate(frame), 0, 1)), abs=1e-5)
    blink = blocks["eyeBlinkLeft"]
    keyed(blink, "value")
    blink.value = POSED
    assert bpy.ops.wav2sem.diagnose_mouth() == {"FINISHED"}
    assert [value(place) for place in [*places, (blink, "value", -1)]] == [POSED] * (len(places) + 1)
    assert bpy.context.scene.frame_current == frame


def test_a_pose_survives_where_the_object_is_keyed_beside_its_lip_sync(settings: Any) -> None:
    """Blender puts its keys into the action of its shape keys."""
    head = arkit_puppet(NAMES)
    generate()
    keyed(head, "location")
    assert head.animation_data.action == head.data.shape_keys.animation_data.action
    for _ in range(2):  # the second time in an action that another one has replaced
        head.location.x = POSED
        generate()
        assert head.location.x == POSED
