# SPDX-License-Identifier: GPL-3.0-or-later
"""A portrait set: 85 mm camera, key, fill and rim light, a soft background, Cycles settings for two cores."""

from __future__ import annotations

import bpy
import numpy as np
from mathutils import Vector
from numpy.typing import NDArray

KEY, FILL, RIM = (1.0, 0.94, 0.88), (0.80, 0.88, 1.0), (0.85, 0.92, 1.0)
TARGET = Vector((0.0, 0.0, -0.012))  # metres: what the camera looks at; the origin lies between the ears


def light_and_frame(scene: bpy.types.Scene) -> None:
    """Camera and lights for a head of natural size that looks along -Y."""
    camera = bpy.data.objects.new("Camera", bpy.data.cameras.new("Camera"))
    camera.data.lens = 85
    camera.data.clip_start = 0.01
    camera.location = TARGET + Vector((0.0, -1.02, 0.0))
    aim(camera, TARGET)
    scene.collection.objects.link(camera)
    scene.camera = camera
    _light(scene, "Key", Vector((-0.75, -0.95, 0.62)), 0.55, 21, KEY)
    _light(scene, "Fill", Vector((1.1, -0.9, 0.05)), 1.2, 4.5, FILL)
    _light(scene, "Rim", Vector((0.75, 0.75, 0.45)), 0.6, 12, RIM)
    _backdrop(scene)


def aim(thing: bpy.types.Object, target: Vector) -> None:
    """Turn a camera or a light towards a point."""
    thing.rotation_euler = (target - thing.location).to_track_quat("-Z", "Y").to_euler()


def _light(
    scene: bpy.types.Scene, name: str, offset: Vector, width: float, watts: float, colour: tuple[float, float, float]
) -> None:
    light = bpy.data.lights.new(name, "AREA")
    light.energy, light.size, light.color = watts, width, colour
    lamp = bpy.data.objects.new(name, light)
    lamp.location = TARGET + offset
    aim(lamp, TARGET)
    scene.collection.objects.link(lamp)


def _backdrop(scene: bpy.types.Scene) -> None:
    """A world that the camera sees as a soft gradient and that lights the face with a little grey."""
    world = bpy.data.worlds.new("Backdrop")
    world.use_nodes = True
    scene.world = world
    tree = world.node_tree
    tree.nodes.clear()
    output = tree.nodes.new("ShaderNodeOutputWorld")
    mix, path = tree.nodes.new("ShaderNodeMixShader"), tree.nodes.new("ShaderNodeLightPath")
    seen, ambient = tree.nodes.new("ShaderNodeBackground"), tree.nodes.new("ShaderNodeBackground")
    ambient.inputs["Color"].default_value = (0.16, 0.18, 0.21, 1)
    ambient.inputs["Strength"].default_value = 0.55
    place, centre = tree.nodes.new("ShaderNodeTexCoord"), tree.nodes.new("ShaderNodeVectorMath")
    length, ramp = tree.nodes.new("ShaderNodeVectorMath"), tree.nodes.new("ShaderNodeValToRGB")
    centre.operation, length.operation = "SUBTRACT", "LENGTH"
    centre.inputs[1].default_value = (0.42, 0.55, 0.0)
    ramp.color_ramp.interpolation = "EASE"
    ramp.color_ramp.elements[0].color = (0.20, 0.225, 0.25, 1)
    ramp.color_ramp.elements[1].color = (0.030, 0.036, 0.045, 1)
    ramp.color_ramp.elements[1].position = 0.75
    for a, b in (
        (place.outputs["Window"], centre.inputs[0]),
        (centre.outputs[0], length.inputs[0]),
        (length.outputs["Value"], ramp.inputs[0]),
        (ramp.outputs[0], seen.inputs["Color"]),
        (path.outputs["Is Camera Ray"], mix.inputs[0]),
        (ambient.outputs[0], mix.inputs[1]),
        (seen.outputs[0], mix.inputs[2]),
        (mix.outputs[0], output.inputs["Surface"]),
    ):
        tree.links.new(a, b)


def cycles(scene: bpy.types.Scene, width: int, height: int, samples: int) -> None:
    """Cycles on the CPU, denoised, few bounces."""
    scene.render.engine = "CYCLES"
    scene.render.resolution_x, scene.render.resolution_y, scene.render.resolution_percentage = width, height, 100
    scene.render.use_persistent_data = True
    scene.cycles_curves.shape = "RIBBONS"
    settings = scene.cycles
    settings.device = "CPU"
    settings.samples = samples
    settings.use_adaptive_sampling = False
    settings.use_light_tree = False
    settings.use_denoising = True
    settings.denoiser = "OPENIMAGEDENOISE"
    settings.denoising_prefilter = "FAST"  # a third of the time of the accurate one, and no visible difference
    settings.max_bounces, settings.diffuse_bounces, settings.glossy_bounces = 2, 1, 1
    settings.transmission_bounces, settings.transparent_max_bounces = 0, 4
    settings.caustics_reflective = settings.caustics_refractive = False
    scene.view_settings.view_transform = "AgX"
    scene.view_settings.look = "AgX - Medium High Contrast"


def moving_points(head: bpy.types.Object) -> NDArray[np.float32]:
    """World positions (N,3) of what can move: the bone's vertices and the hair, or the whole mesh without a bone."""
    bpy.context.view_layer.update()
    mesh, group = head.data, head.vertex_groups.get("Head")
    places = [v.co for v in mesh.vertices if group is None or any(g.group == group.index for g in v.groups)]
    world = np.array([head.matrix_world @ place for place in places], dtype=np.float32)
    for hair in (thing for thing in bpy.context.scene.objects if thing.type == "CURVES"):
        strands = np.empty(len(hair.data.points) * 3, np.float32)
        hair.data.points.foreach_get("position", strands)
        turned = strands.reshape(-1, 3) @ np.array(hair.matrix_world.to_3x3()).T + np.array(
            hair.matrix_world.translation
        )
        world = np.concatenate([world, turned.astype(np.float32)])
    return world


def tidy_for_artist(scene: bpy.types.Scene, head: bpy.types.Object) -> None:
    """The file opens on the head, selected, through the camera, at the first frame."""
    for thing in scene.objects:
        thing.select_set(thing is head)
    bpy.context.view_layer.objects.active = head
    scene.frame_set(1)
    for screen in bpy.data.screens:
        for area in screen.areas:
            if area.type == "VIEW_3D":
                view = area.spaces.active
                view.region_3d.view_perspective = "CAMERA"
                view.shading.type = "MATERIAL"
                view.show_region_ui = True
