# SPDX-License-Identifier: GPL-3.0-or-later
"""Signs of life that lip sync does not make: a head bone that sways a little, and blinks."""

from __future__ import annotations

import bpy
import numpy as np
from mathutils import Matrix, Vector

NECK_BOTTOM, NECK_TOP = -0.115, -0.065  # metres: the head bone takes over between these heights
FIXED = ("cloth",)  # materials of what the head bone leaves alone
PIVOT = Vector((0.0, 0.045, -0.085))  # where the head turns on the neck
SWAY_DEGREES = (1.6, 1.0, 2.0)  # nod, tilt, turn
SWAY_EVERY = 0.55  # seconds between two poses
BLINK_AT = (1.02, 3.05)  # seconds
BLINK = ((0.0, 0.0), (0.08, 1.0), (0.12, 1.0), (0.25, 0.0))  # (seconds, weight)


def add_head_bone(head: bpy.types.Object) -> bpy.types.Object:
    """Rig the head with one bone, `Head`, that moves everything above the neck; returns the armature object."""
    scene = bpy.context.scene
    rig = bpy.data.objects.new("Head Rig", bpy.data.armatures.new("Head Rig"))
    scene.collection.objects.link(rig)
    bpy.context.view_layer.objects.active = rig
    bpy.ops.object.mode_set(mode="EDIT")
    bone = rig.data.edit_bones.new("Head")
    bone.head, bone.tail = PIVOT, PIVOT + Vector((0, 0, 0.1))
    bpy.ops.object.mode_set(mode="OBJECT")
    rig.show_in_front = True
    rig.matrix_world = head.matrix_world
    head.parent, head.matrix_parent_inverse = rig, Matrix()
    head.matrix_basis = Matrix()
    _weigh(head)
    head.modifiers.new("Head Rig", "ARMATURE").object = rig
    bpy.context.view_layer.update()
    for hair in head.children:
        hair.parent, hair.parent_type, hair.parent_bone = rig, "BONE", "Head"
        # A bone's own axes: y along the bone. The inverse of its rest matrix puts the hair back where it was.
        tip = rig.data.bones["Head"].matrix_local @ Matrix.Translation((0, 0.1, 0))
        hair.matrix_parent_inverse = tip.inverted()
    return rig


def _weigh(head: bpy.types.Object) -> None:
    """The bone's vertex group, fading out down the neck; in steps, because vertices are added by weight."""
    mesh = head.data
    heights = np.empty(len(mesh.vertices) * 3, np.float32)
    mesh.vertices.foreach_get("co", heights)
    share = np.clip((heights[2::3] - NECK_BOTTOM) / (NECK_TOP - NECK_BOTTOM), 0, 1)
    share = share * share * (3 - 2 * share)
    material = np.empty(len(mesh.polygons), np.int32)
    mesh.polygons.foreach_get("material_index", material)
    corners = np.empty(len(mesh.polygons) * 3, np.int32)
    mesh.polygons.foreach_get("vertices", corners)
    for index, slot in enumerate(head.material_slots):
        if slot.material.name.split(".")[0] in FIXED:
            share[corners.reshape(-1, 3)[material == index]] = 0
    group = head.vertex_groups.new(name="Head")
    steps = np.round(share * 64).astype(int)
    for step in range(1, 65):
        group.add(np.flatnonzero(steps == step).tolist(), step / 64, "REPLACE")


def sway(rig: bpy.types.Object, seconds: float, fps: float) -> None:
    """Key the head bone with slow, small turns; it starts and ends at rest."""
    bone = rig.pose.bones["Head"]
    bone.rotation_mode = "XYZ"
    times = np.arange(0, seconds + SWAY_EVERY, SWAY_EVERY)
    poses = np.random.default_rng(7).normal(size=(len(times), 3)).clip(-1.5, 1.5) * np.radians(SWAY_DEGREES) * 0.7
    poses[0] = poses[-1] = 0
    for time, pose in zip(times, poses, strict=True):
        bone.rotation_euler = (pose[0], pose[2], pose[1])  # the bone's y axis runs upwards
        bone.keyframe_insert("rotation_euler", frame=1 + time * fps)


def blink(head: bpy.types.Object, fps: float) -> None:
    """Key both blink shapes, in the action that the head already has."""
    for side in ("Left", "Right"):
        key = head.data.shape_keys.key_blocks[f"eyeBlink{side}"]
        for start in BLINK_AT:
            for after, weight in BLINK:
                key.value = weight
                key.keyframe_insert("value", frame=1 + round((start + after) * fps))
