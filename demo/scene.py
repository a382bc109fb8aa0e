# SPDX-License-Identifier: GPL-3.0-or-later
"""A portrait set: 85 mm camera, key, fill and rim light, a soft background, Cycles settings for two cores."""

from __future__ import annotations

import bpy
from mathutils import Vector

KEY, FILL, RIM = (1.0, 0.94, 0.88), (0.80, 0.88, 1.0), (0.85, 0.92, 1.0)


def light_and_frame(scene: bpy.types.Scene, target: Vector, size: float = 1.0) -> None:
    """Camera and lights around `target` (between eyes and mouth; the face looks along -Y); `size` scales the set."""
    camera = bpy.data.objects.new("Camera", bpy.data.cameras.new("Camera"))
    camera.data.lens = 85
    camera.location = target + Vector((0.0, -1.22, 0.01)) * size
    camera.data.clip_start = 0.01 * size
    aim(camera, target + Vector((0.0, 0.0, -0.012)) * size)
    scene.collection.objects.link(camera)
    scene.camera = camera
    _light(scene, "Key", target, Vector((-0.75, -0.95, 0.62)) * size, 0.55 * size, 19 * size ** 2, KEY)
    _light(scene, "Fill", target, Vector((1.1, -0.9, 0.05)) * size, 1.2 * size, 5.5 * size ** 2, FILL)
    _light(scene, "Rim", target, Vector((0.75, 0.75, 0.45)) * size, 0.4 * size, 17 * size ** 2, RIM)
    _backdrop(scene)


def aim(thing: bpy.types.Object, target: Vector) -> None:
    """Turn a camera or a light towards a point."""
    thing.rotation_euler = (target - thing.location).to_track_quat("-Z", "Y").to_euler()


def _light(scene: bpy.types.Scene, name: str, target: Vector, offset: Vector, width: float, watts: float,
           colour: tuple[float, float, float]) -> None:
    light = bpy.data.lights.new(name, "AREA")
    light.energy, light.size, light.color = watts, width, colour
    lamp = bpy.data.objects.new(name, light)
    lamp.location = target + offset
    aim(lamp, target)
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
    for a, b in ((place.outputs["Window"], centre.inputs[0]), (centre.outputs[0], length.inputs[0]),
                 (length.outputs["Value"], ramp.inputs[0]), (ramp.outputs[0], seen.inputs["Color"]),
                 (path.outputs["Is Camera Ray"], mix.inputs[0]), (ambient.outputs[0], mix.inputs[1]),
                 (seen.outputs[0], mix.inputs[2]), (mix.outputs[0], output.inputs["Surface"])):
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
    settings.max_bounces, settings.diffuse_bounces, settings.glossy_bounces = 2, 1, 1
    settings.transmission_bounces, settings.transparent_max_bounces = 0, 4
    settings.caustics_reflective = settings.caustics_refractive = False
    scene.view_settings.view_transform = "AgX"
    scene.view_settings.look = "AgX - Medium High Contrast"
