# SPDX-License-Identifier: GPL-3.0-or-later
"""Add-on preferences: what belongs to the machine, not to a scene."""

from __future__ import annotations

from typing import Any

import bpy
from bpy.props import EnumProperty, StringProperty

_PACKAGE = __package__.rpartition(".")[0]

# CPU first: the embedded model runs faster there than it takes to wake a GPU.
DEVICES = (
    ("CPU", "CPU", "The processor: works on every machine, and is the quickest for the embedded model"),
    ("AUTO", "Automatic", "The fastest device that the installed onnxruntime offers, else the CPU"),
    ("CUDA", "NVIDIA (CUDA)", "Needs the CUDA package of this extension; falls back to the CPU"),
    ("DIRECTML", "Windows GPU (DirectML)", "Needs an onnxruntime with DirectML; falls back to the CPU"),
    ("COREML", "Apple (Core ML)", "macOS only; falls back to the CPU"),
)


class LipSyncPreferences(bpy.types.AddonPreferences):
    """Device and folder of further models."""

    bl_idname = _PACKAGE

    device: EnumProperty(name="Device", description="What runs the model", items=DEVICES)
    model_folder: StringProperty(
        name="More Models",
        description="A folder whose sub-folders are model packages, besides the embedded ones",
        subtype="DIR_PATH",
    )

    def draw(self, context: bpy.types.Context) -> None:
        self.layout.use_property_split = True
        self.layout.prop(self, "device")
        self.layout.prop(self, "model_folder")


def get_preferences(context: bpy.types.Context) -> Any | None:
    """The preferences, or None where the package runs without being installed as an add-on."""
    addon = context.preferences.addons.get(_PACKAGE)
    return addon.preferences if addon else None


def device(context: bpy.types.Context) -> str:
    """Key of the execution provider to run models with."""
    preferences = get_preferences(context)
    return preferences.device if preferences else "CPU"


def register() -> None:
    """Register the preferences."""
    bpy.utils.register_class(LipSyncPreferences)


def unregister() -> None:
    """Unregister the preferences."""
    bpy.utils.unregister_class(LipSyncPreferences)
