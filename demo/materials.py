# SPDX-License-Identifier: GPL-3.0-or-later
"""Materials of the demo head: few nodes, tuned for a short CPU render."""

from __future__ import annotations

from collections.abc import Callable

import bpy


def paint(head: bpy.types.Object) -> None:
    """Give every material slot of the head its nodes, by the slot's name."""
    makers: dict[str, Callable[[bpy.types.Material], None]] = {
        "skin": _skin,
        "teeth": _teeth,
        "mouth": _mouth,
        "eye": _eye,
        "cornea": _cornea,
        "hair": _hair,
        "cloth": _cloth,
        "strand": _strand,
    }
    slots = [slot for thing in (head, *head.children) for slot in thing.material_slots]
    for slot in slots:
        material = slot.material
        material.use_nodes = True
        makers[material.name.split(".")[0]](material)


def _principled(material: bpy.types.Material, **values: float) -> bpy.types.Node:
    shader = next(n for n in material.node_tree.nodes if n.type == "BSDF_PRINCIPLED")
    for name, value in values.items():
        shader.inputs[name.replace("_", " ")].default_value = value
    return shader


def _vertex_colour(material: bpy.types.Material, shader: bpy.types.Node) -> bpy.types.Node:
    node = material.node_tree.nodes.new("ShaderNodeAttribute")
    node.attribute_name = "Col"
    material.node_tree.links.new(node.outputs["Color"], shader.inputs["Base Color"])
    return node


def _noise(material: bpy.types.Material, scale: float, detail: float) -> bpy.types.Node:
    tree = material.node_tree
    place, noise = tree.nodes.new("ShaderNodeTexCoord"), tree.nodes.new("ShaderNodeTexNoise")
    noise.inputs["Scale"].default_value, noise.inputs["Detail"].default_value = scale, detail
    tree.links.new(place.outputs["Object"], noise.inputs["Vector"])
    return noise


def _bump(material: bpy.types.Material, shader: bpy.types.Node, scale: float, metres: float, detail: float = 2) -> None:
    tree = material.node_tree
    noise, bump = _noise(material, scale, detail), tree.nodes.new("ShaderNodeBump")
    bump.inputs["Strength"].default_value = 1.0
    bump.inputs["Distance"].default_value = metres
    tree.links.new(noise.outputs[0], bump.inputs["Height"])
    tree.links.new(bump.outputs["Normal"], shader.inputs["Normal"])


def _glow(material: bpy.types.Material, shader: bpy.types.Node, colour: bpy.types.Node, strength: float) -> None:
    """Stands in for the light that bounces about in the mouth, which a short render does not follow."""
    material.node_tree.links.new(colour.outputs["Color"], shader.inputs["Emission Color"])
    shader.inputs["Emission Strength"].default_value = strength


def _skin(material: bpy.types.Material) -> None:
    shader = _principled(
        material, Roughness=0.46, Subsurface_Weight=0.12, Subsurface_Scale=0.006, Coat_Weight=0.06, Coat_Roughness=0.28
    )
    shader.inputs["Subsurface Radius"].default_value = (1.0, 0.35, 0.2)
    colour = _vertex_colour(material, shader)
    tree = material.node_tree
    blotches, mix = _noise(material, 70, 3), tree.nodes.new("ShaderNodeMixRGB")
    mix.blend_type = "OVERLAY"
    mix.inputs["Fac"].default_value = 0.22
    tree.links.new(colour.outputs["Color"], mix.inputs["Color1"])
    tree.links.new(blotches.outputs[0], mix.inputs["Color2"])
    tree.links.new(mix.outputs["Color"], shader.inputs["Base Color"])
    _bump(material, shader, 1400, 0.00012)


def _teeth(material: bpy.types.Material) -> None:
    shader = _principled(material, Roughness=0.22)
    _glow(material, shader, _vertex_colour(material, shader), 0.05)


def _mouth(material: bpy.types.Material) -> None:
    shader = _principled(material, Roughness=0.3)
    _glow(material, shader, _vertex_colour(material, shader), 0.09)


def _eye(material: bpy.types.Material) -> None:
    _vertex_colour(material, _principled(material, Roughness=0.35))


def _cornea(material: bpy.types.Material) -> None:
    """Clear with a sharp reflection: cheaper than refraction, and as bright in the eye."""
    tree = material.node_tree
    tree.nodes.clear()
    output, mix = tree.nodes.new("ShaderNodeOutputMaterial"), tree.nodes.new("ShaderNodeMixShader")
    clear, gloss = tree.nodes.new("ShaderNodeBsdfTransparent"), tree.nodes.new("ShaderNodeBsdfGlossy")
    fresnel = tree.nodes.new("ShaderNodeFresnel")
    fresnel.inputs["IOR"].default_value = 1.45
    gloss.inputs["Roughness"].default_value = 0.03
    tree.links.new(fresnel.outputs[0], mix.inputs[0])
    tree.links.new(clear.outputs[0], mix.inputs[1])
    tree.links.new(gloss.outputs[0], mix.inputs[2])
    tree.links.new(mix.outputs[0], output.inputs["Surface"])


def _hair(material: bpy.types.Material) -> None:
    _vertex_colour(material, _principled(material, Roughness=0.45))


def _strand(material: bpy.types.Material) -> None:
    """Hair of slightly different browns, with a soft sheen."""
    shader = _principled(material, Roughness=0.6)
    shader.inputs["Base Color"].default_value = (0.055, 0.030, 0.018, 1)
    tree = material.node_tree
    info, ramp = tree.nodes.new("ShaderNodeHairInfo"), tree.nodes.new("ShaderNodeValToRGB")
    ramp.color_ramp.elements[0].color = (0.030, 0.016, 0.010, 1)
    ramp.color_ramp.elements[1].color = (0.105, 0.060, 0.034, 1)
    tree.links.new(info.outputs["Random"], ramp.inputs["Fac"])
    tree.links.new(ramp.outputs["Color"], shader.inputs["Base Color"])


def _cloth(material: bpy.types.Material) -> None:
    _vertex_colour(material, _principled(material, Roughness=0.95))
