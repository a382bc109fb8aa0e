# SPDX-License-Identifier: GPL-3.0-or-later
"""The model packages a user can choose from: the embedded ones and those of the preferences' folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import bpy

from ..inference import EMBEDDED_MODEL, ModelError, ModelPackage, list_packages
from . import ids
from .preferences import get_preferences

EnumItem = tuple[str, str, str]

_packages: dict[Path, list[ModelPackage]] = {}
# Blender keeps no reference to the strings of a callback's items.
_items: dict[tuple[EnumItem, ...], list[EnumItem]] = {}


def packages(context: bpy.types.Context) -> list[ModelPackage]:
    """All usable packages, embedded ones first; read once, until `forget` is called."""
    folders = [EMBEDDED_MODEL.parent]
    preferences = get_preferences(context)
    if preferences and preferences.model_folder:
        folders.append(Path(bpy.path.abspath(preferences.model_folder)))
    found = []
    for folder in folders:
        if folder not in _packages:
            _packages[folder] = [entry for entry in list_packages(folder) if isinstance(entry, ModelPackage)]
        found += _packages[folder]
    return found


def forget() -> None:
    """Read the folders again at the next use."""
    _packages.clear()


def find(context: bpy.types.Context, identifier: str) -> ModelPackage:
    """The package with this id; the embedded one, or else the first, when none was chosen yet.

    Raises ModelError when there is no such package.
    """
    known = packages(context)
    for package in known:
        if package.id == identifier or (not identifier and package.folder == EMBEDDED_MODEL):
            return package
    if identifier or not known:
        raise ModelError(
            f"The model “{identifier}” is not on this machine; choose another one."
            if identifier
            else "There is no speech model; name a folder with model packages in the preferences of this extension."
        )
    return known[0]


def missing_reason(context: bpy.types.Context, identifier: str) -> str:
    """Why the package with this id cannot be used, as one sentence; empty when it can. Cheap enough for poll."""
    try:
        find(context, identifier)
    except ModelError as error:
        return str(error)
    return ""


def model_items(settings: Any, context: bpy.types.Context) -> list[EnumItem]:
    """Items of the model property, the embedded model first; at the end the chosen one, if it is not here."""
    known = sorted(packages(context), key=lambda package: package.folder != EMBEDDED_MODEL)
    items = [(package.id, package.name, f"Version {package.version}. {package.licence}") for package in known]
    chosen = settings.model_id
    if chosen and all(package.id != chosen for package in known):
        items.append((chosen, f"{chosen} (missing)", "This model is not on this machine"))
    return _keep(items)


def style_items(settings: Any, context: bpy.types.Context) -> list[EnumItem]:
    """Items of the style property: the styles of the chosen model, its default one first."""
    try:
        package = find(context, settings.model)
    except ModelError:
        return _keep([])
    styles = sorted(package.styles, key=lambda style: style != package.default_style)
    return _keep([(style, style.replace("_", " ").title(), "Speaking style") for style in styles])


def chosen_style(settings: Any) -> str | None:
    """The style, or the blend of two, that the settings describe; None is the model's default."""
    if not settings.style_mix or settings.second_style == settings.style:
        return settings.style or None
    return f"{settings.style}:{1 - settings.style_mix:.3f}, {settings.second_style}:{settings.style_mix:.3f}"


def remembered(items: Callable[[Any, bpy.types.Context], list[EnumItem]], attribute: str) -> dict[str, Any]:
    """Getter and setter of an enum whose choice is kept as text in `attribute`.

    Blender itself would keep a number, which means something else once models come and go.
    """

    def index(settings: Any) -> int:
        names = [item[0] for item in items(settings, bpy.context)]
        chosen = getattr(settings, attribute)
        return names.index(chosen) if chosen in names else 0

    def choose(settings: Any, number: int) -> None:
        setattr(settings, attribute, items(settings, bpy.context)[number][0])

    return {"items": items, "get": index, "set": choose}


def _keep(items: list[EnumItem]) -> list[EnumItem]:
    return _items.setdefault(tuple(items), items or [("", "None", "Nothing to choose from")])


class LIPSYNC_OT_refresh_models(bpy.types.Operator):
    """Look for model packages again"""

    bl_idname = ids.REFRESH_MODELS
    bl_label = "Refresh Models"
    bl_options = {"INTERNAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Forget what was read."""
        forget()
        return {"FINISHED"}


def register() -> None:
    """Register the refresh operator."""
    bpy.utils.register_class(LIPSYNC_OT_refresh_models)


def unregister() -> None:
    """Unregister it and forget what was read."""
    bpy.utils.unregister_class(LIPSYNC_OT_refresh_models)
    forget()
    _items.clear()
