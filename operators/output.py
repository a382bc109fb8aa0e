# SPDX-License-Identifier: GPL-3.0-or-later
"""Results on disk: a .blend, or the head for other programs (glTF, FBX, USD, Alembic) by Blender's own exporters.

A file is written beside its place, checked and renamed: whoever opens it sees the old one or the whole new one. Frame f
of the scene lies at f / fps seconds in every format; the scene's frame range is what is exported.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import bpy

from ..inference import OutputError
from ..inference.places import check_place as check_any_place
from .causes_shown import path_to
from .gltf_times import end_at
from .whole_file import is_whole

_ALEMBIC_VERTEX = 24  # bytes of a vertex in a frame: half is where it lies, the rest allows for normals and rig


def check_place(path: Path) -> None:
    """Say before the work, not after it, that the result has no place; raises OutputError."""
    check_any_place(path, tuple(FORMATS))
    module, name = FORMATS[path.suffix.lower()][0].split(".")
    if name not in dir(getattr(bpy.ops, module)):
        raise OutputError(
            f"This Blender has no exporter for {path.suffix}; enable its add-on in the preferences, or take a Blender "
            "that was built with it, as those of blender.org are."
        )


def write(path: Path, obj: bpy.types.Object) -> None:
    """Write the open file, or of it `obj` with its parents and rig, as the ending of `path` says.

    Raises OutputError, and leaves what was there.
    """
    if path.suffix.lower() not in (".blend", ".abc") and any(map(_plays_cache, obj.modifiers)):
        raise OutputError(f"“{obj.name}” plays a vertex cache, which {path.suffix} does not carry; choose .abc.")
    beside = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        FORMATS[path.suffix.lower()][1](str(beside), obj)
        if not is_whole(beside):
            raise OSError("only a part of it was taken")
        os.replace(beside, path)
    except (RuntimeError, OSError) as error:
        raise OutputError(
            f"“{path}” cannot be written ({_reason(error)}); is it open in another program, the disk full or read-only?"
        ) from error
    finally:
        with suppress(OSError):  # Windows removes nothing that is open; the sentence on what failed counts
            beside.unlink(missing_ok=True)


def _reason(error: Exception) -> str:
    """The line that says what went wrong: the last one, but for the place in the sources that Blender adds."""
    lines = [line for line in str(error).strip().splitlines() if not line.startswith("Location: ")]
    return re.sub(r"^(\w*Error: )?(\[(Errno|WinError) \d+\] )?", "", lines[-1])


def _plays_cache(modifier: bpy.types.Modifier) -> bool:
    return modifier.type == "MESH_CACHE" and (modifier.show_viewport or modifier.show_render)


def _blend(place: str, obj: bpy.types.Object) -> None:
    bpy.ops.wm.save_as_mainfile(filepath=place, copy=True, check_existing=False)


def _gltf(place: str, obj: bpy.types.Object) -> None:
    """One animation with what plays in the scene at every frame, whichever actions and strips it comes from."""
    with _selected(obj):
        bpy.ops.export_scene.gltf(
            filepath=place,
            check_existing=False,
            export_format="GLB",
            use_selection=True,
            export_apply=False,  # applied modifiers cost the shape keys
            export_animation_mode="SCENE",
            export_anim_scene_split_object=False,
            export_frame_range=True,
            export_negative_frame="CROP",
            export_optimize_animation_size=False,
        )
    scene = bpy.context.scene
    if scene.render.fps_base != 1:
        end_at(Path(place), scene.frame_end * scene.render.fps_base / scene.render.fps)


def _fbx(place: str, obj: bpy.types.Object) -> None:
    with _selected(obj):
        bpy.ops.export_scene.fbx(
            filepath=place,
            check_existing=False,
            use_selection=True,
            use_mesh_modifiers=False,  # applied ones cost the shape keys; the rig's binding comes along all the same
            bake_anim_use_nla_strips=False,  # what plays in the scene, not each strip and action by itself
            bake_anim_use_all_actions=False,
            bake_anim_simplify_factor=0.0,
            add_leaf_bones=False,
        )


def _usd(place: str, obj: bpy.types.Object) -> None:
    with _selected(obj):
        bpy.ops.wm.usd_export(
            filepath=place,
            check_existing=False,
            selected_objects_only=True,
            export_animation=True,
            export_shapekeys=True,
            export_textures_mode="KEEP",  # no folder of copies beside the file
            convert_world_material=False,
        )


def _alembic(place: str, obj: bpy.types.Object) -> None:
    """Alembic has no shape keys: it carries the vertices of every frame, modifiers applied.

    Where it finds no room its writer ends Blender itself, so that room is looked for before.
    """
    scene = bpy.context.scene
    with _selected(obj):
        _check_room(place, obj, scene.frame_end - scene.frame_start + 1)
        bpy.ops.wm.alembic_export(
            filepath=place,
            check_existing=False,
            selected=True,
            start=scene.frame_start,
            end=scene.frame_end,
            as_background_job=False,
        )


def _check_room(place: str, obj: bpy.types.Object, frames: int) -> None:
    """Raises OutputError when the disk may not hold `obj` in so many frames, OSError when no file may be as large."""
    mesh: Any = obj.evaluated_get(bpy.context.evaluated_depsgraph_get()).data
    needed, free = _ALEMBIC_VERTEX * len(mesh.vertices) * frames, shutil.disk_usage(Path(place).parent).free
    if free < needed:
        raise OutputError(
            f"{frames} frames of “{obj.name}” may take {needed / 1e6:.0f} MB, and the disk has {free / 1e6:.0f} MB "
            "left; make room there or choose another folder."
        )
    if hasattr(os, "posix_fallocate"):  # quotas and limits of a file's size, which the disk's own figures do not tell
        with open(place, "wb") as file:
            os.posix_fallocate(file.fileno(), 0, needed)


# How a name may end: the operator that writes it, and the function that calls it.
FORMATS: dict[str, tuple[str, Callable[[str, bpy.types.Object], None]]] = {
    ".blend": ("wm.save_as_mainfile", _blend),
    ".glb": ("export_scene.gltf", _gltf),
    ".fbx": ("export_scene.fbx", _fbx),
    ".usdc": ("wm.usd_export", _usd),
    ".usda": ("wm.usd_export", _usd),
    ".usd": ("wm.usd_export", _usd),
    ".abc": ("wm.alembic_export", _alembic),
}


@contextmanager
def _selected(obj: bpy.types.Object) -> Iterator[None]:
    """`obj`, what it hangs from and its rigs are shown and selected, nothing else; afterwards all is as before.

    Exporters leave out what is hidden or cannot be selected, and rigs usually are; they do so without a word.
    """
    layer = bpy.context.view_layer
    wanted = _with_rig(obj)
    for each in wanted:
        if each.name not in layer.objects:
            raise OutputError(
                f"“{each.name}” is not in the view layer “{layer.name}”, which is exported; include it there."
            )
    before, active = list(layer.objects.selected), layer.objects.active
    try:
        with _shown(layer, wanted), _object_mode(layer):
            _select(layer, wanted, obj)
            dropped = next((each for each in wanted if not each.select_get()), None)
            if dropped is not None:
                raise OutputError(f"“{dropped.name}” is hidden and would be left out; show it, then export again.")
            yield
    finally:
        _select(layer, before, active)


def _with_rig(obj: bpy.types.Object) -> list[bpy.types.Object]:
    """`obj`, its parents and the rigs that deform it."""
    found = [obj, *(each.object for each in obj.modifiers if each.type == "ARMATURE" and each.object)]
    parent = obj.parent
    while parent is not None:
        found.append(parent)
        parent = parent.parent
    return found


def _select(layer: bpy.types.ViewLayer, wanted: Iterable[bpy.types.Object], active: bpy.types.Object | None) -> None:
    """Select `wanted` and nothing else."""
    for each in layer.objects:
        each.select_set(each in wanted)
    layer.objects.active = active


@contextmanager
def _shown(layer: bpy.types.ViewLayer, wanted: Iterable[bpy.types.Object]) -> Iterator[None]:
    """`wanted` and the collections that hold them can be seen and selected; afterwards as before."""
    with ExitStack() as back:
        for each in wanted:
            for collection in path_to(layer.layer_collection, each):
                _clear(collection, "hide_viewport", back)
                _clear(collection.collection, "hide_viewport", back)
                _clear(collection.collection, "hide_select", back)
            _clear(each, "hide_viewport", back)
            _clear(each, "hide_select", back)
            if each.hide_get(view_layer=layer):
                back.callback(each.hide_set, True, view_layer=layer)
                each.hide_set(False, view_layer=layer)
        yield


def _clear(thing: Any, name: str, back: ExitStack) -> None:
    if getattr(thing, name):
        back.callback(setattr, thing, name, True)
        setattr(thing, name, False)


@contextmanager
def _object_mode(layer: bpy.types.ViewLayer) -> Iterator[None]:
    """Object Mode; afterwards those who were in another mode are in it again."""
    active = layer.objects.active
    mode = active.mode if active is not None else "OBJECT"
    if mode == "OBJECT":
        yield
        return
    inside = [obj for obj in layer.objects if obj.mode == mode]
    bpy.ops.object.mode_set(mode="OBJECT")
    try:
        yield
    finally:
        _select(layer, inside, active)
        bpy.ops.object.mode_set(mode=mode)
