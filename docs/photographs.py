# SPDX-License-Identifier: GPL-3.0-or-later
"""Photographs the panels in a real window of Blender, for README.md and docs/animators.md.

    blender --factory-startup --window-geometry 0 0 1600 1000 --python docs/photographs.py

Run it from the project's folder, on an X display of 1600 x 1000 without a window manager (Xvfb), in a Blender that has
had the extension installed once, because that brings its libraries. Needs ImageMagick, ffmpeg and xdotool. The pictures
go to docs/images, or to the folder that LIPSYNC_PHOTOS names.
"""

from __future__ import annotations

import glob
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import bmesh
import bpy
import numpy as np
from mathutils import Quaternion

ROOT = Path.cwd()
PHOTOS = Path(os.environ.get("LIPSYNC_PHOTOS", ROOT / "docs" / "images"))
sys.dont_write_bytecode = True
sys.path.insert(0, str(ROOT))
sys.path += glob.glob(bpy.utils.user_resource("EXTENSIONS") + "/.local/lib/python*/site-packages")

import bake  # noqa: E402

bake.load_package()

import soundfile  # noqa: E402
import wav2sem_lipsync  # noqa: E402
from wav2sem_lipsync.inference import arkit_basis  # noqa: E402
from wav2sem_lipsync.panels import (  # noqa: E402
    bake_panel,
    edits_panel,
    info_panel,
    life_panel,
    queue_panel,
    refine_panel,
    speech_panel,
)

PANELS = {
    "speech": speech_panel.LIPSYNC_PT_speech,
    "bake": bake_panel.LIPSYNC_PT_bake,
    "refine": refine_panel.LIPSYNC_PT_refine,
    "edits": edits_panel.LIPSYNC_PT_edits,
    "life": life_panel.LIPSYNC_PT_life,
    "queue": queue_panel.LIPSYNC_PT_queue,
    "info": info_panel.LIPSYNC_PT_info,
}
SPEECH = ROOT / "vendored_models" / "demo_speech" / "speech.flac"
UI_SCALE = 1.2
FILM_STEPS = 7  # photographs of a slider on its way


def visit() -> Iterator[float]:
    """Everything that is photographed, in the order of a first session; yields the seconds to wait."""
    press("Escape")  # the splash screen
    bpy.context.preferences.view.ui_scale = UI_SCALE
    bpy.context.preferences.system.use_region_overlap = False
    wav2sem_lipsync.register()
    yield from a_head_in_the_view()
    yield from the_first_bake()
    yield from the_panels()
    yield from the_film()
    yield from the_curves()


def a_head_in_the_view() -> Iterator[float]:
    """The demo head, close, and the tab open."""
    for obj in list(bpy.data.objects):
        bpy.data.objects.remove(obj)
    head = demo_head("Head")
    samples, rate = soundfile.read(SPEECH)
    soundfile.write(Path(bpy.app.tempdir) / "speech.flac", samples, rate)
    soundfile.write(Path(bpy.app.tempdir) / "a_minute.flac", np.tile(samples, 12), rate)
    bpy.ops.wm.save_as_mainfile(filepath=str(Path(bpy.app.tempdir) / "shot.blend"))
    space = view().spaces.active
    space.show_region_ui = True
    space.overlay.show_overlays = False
    space.shading.color_type = "VERTEX"
    space.shading.show_specular_highlight = False
    space.lens = 85
    space.region_3d.view_perspective = "PERSP"
    space.region_3d.view_rotation = Quaternion((0.7071, 0.7071, 0.0, 0.0))
    space.region_3d.view_location = (0.0, 0.0, -0.02)
    space.region_3d.view_distance = 0.66
    yield 1.0
    region(view(), "UI").active_panel_category = "Lip Sync"
    bpy.context.view_layer.objects.active = head
    settings().audio_path = "//speech.flac"
    yield from unfold("speech")
    photograph("ready")


def the_first_bake() -> Iterator[float]:
    """The bar, and what comes of it."""
    settings().audio_path = "//a_minute.flac"
    generate()
    until = time.monotonic() + 60
    while job().progress < 0.45 and job().running and time.monotonic() < until:
        yield 0.05
    photograph_sidebar("running")
    press("Escape")
    yield from until_done()
    settings().audio_path = "//speech.flac"
    generate()
    yield from until_done()


def the_panels() -> Iterator[float]:
    """Each sub-panel, unfolded alone, with something to show."""
    head = bpy.data.objects["Head"]
    keys = head.data.shape_keys
    yield from unfold("bake")
    photograph_sidebar("bake")
    yield from unfold("refine")
    photograph_sidebar("refine")
    curve = curve_of(keys, "jawOpen")
    for number in (40, 41, 42):
        curve.keyframe_points[number].co.y += 0.2
    curve.update()
    yield from unfold("edits")
    until = time.monotonic() + 10
    while not job().edited_keys and time.monotonic() < until:  # they are counted when the hand rests
        yield 0.1
    yield 0.5
    photograph_sidebar("edits")
    head.wav2sem_face.life.blinks = 1.0
    head.wav2sem_face.life.brows = 0.5
    yield from unfold("life")
    photograph_sidebar("life")
    head.wav2sem_face.life.blinks = head.wav2sem_face.life.brows = 0.0
    head.show_only_shape_key = True
    keys.key_blocks["jawOpen"].mute = True
    yield from unfold("info")
    with in_area(view()):
        bpy.ops.wav2sem.diagnose_mouth()
    yield 0.5
    photograph_sidebar("info")
    head.show_only_shape_key = False
    keys.key_blocks["jawOpen"].mute = False
    strip = bpy.context.scene.sequence_editor.strips_all[0]
    yield from unfold("speech")
    strip.content_start += 12
    yield 0.5
    photograph_sidebar("retime")
    strip.content_start -= 12
    second = demo_head("Ben")
    second.location.x = 0.4
    with in_area(view()):
        bpy.ops.wav2sem.queue_add_selected()
    yield from unfold("queue")
    photograph_sidebar("queue")
    for obj in (*second.children, second):
        bpy.data.objects.remove(obj)
    head.select_set(True)
    bpy.context.view_layer.objects.active = head
    with in_area(view()):
        bpy.ops.wav2sem.queue_clear()
        bpy.ops.wav2sem.drop_edits()


def the_film() -> Iterator[float]:
    """Sliders of Refine move, and the face with them."""
    folder = Path(bpy.app.tempdir)
    head = bpy.data.objects["Head"]
    face, keys = head.wav2sem_face, head.data.shape_keys
    space = view().spaces.active
    space.show_gizmo = False
    space.region_3d.view_distance = 0.44
    space.region_3d.view_location = (-0.045, 0.0, -0.03)
    yield from unfold("refine")
    taken = 0
    for name, shape, stops in (
        ("strength", "jawOpen", (1.0, 0.2, 1.6, 1.0)),
        ("jaw", "jawOpen", (1.0, 0.3, 1.8, 1.0)),
        ("rounding", "mouthPucker", (1.0, 0.0, 2.0, 1.0)),
    ):
        go_to_highest(keys, shape)
        for value in way(stops):
            setattr(face, name, value)
            yield 0.25
            subprocess.run(["import", "-window", "root", f"{folder}/{taken:03}.png"], check=True)
            taken += 1
    left, top, width, height = box(region(view(), "UI"))
    shown = min(left + width, 980)
    crop = f"crop={shown}:{min(height, 700)}:{left + width - shown}:{top}"
    colours = "split[a][b];[a]palettegen=max_colors=160:stats_mode=diff[p];[b][p]paletteuse=dither=none"
    subprocess.run(
        ["ffmpeg", "-v", "error", "-y", "-framerate", "12", "-i", f"{folder}/%03d.png",
         "-vf", f"{crop},scale=680:-1:flags=lanczos,{colours}", str(PHOTOS / "refine.gif")],
        check=True,
    )  # fmt: skip


def the_curves() -> Iterator[float]:
    """The face in the middle of a word, above its curves."""
    go_to_highest(bpy.data.objects["Head"].data.shape_keys, "jawOpen")
    space = view().spaces.active
    space.show_gizmo = True
    space.region_3d.view_distance = 0.56
    space.region_3d.view_location = (0.0, 0.0, -0.03)
    yield from unfold("speech")
    with in_area(view()):
        bpy.ops.screen.area_split(direction="HORIZONTAL", factor=0.36)
    curves = min((area for area in areas() if area.type == "VIEW_3D"), key=lambda area: area.y)
    curves.type = "GRAPH_EDITOR"
    curves.spaces.active.show_region_ui = False
    yield 1.0
    with in_area(curves):
        bpy.ops.anim.channels_expand(all=True)
        bpy.ops.graph.select_all(action="DESELECT")
        for shape in ("jawOpen", "mouthPucker", "mouthClose"):
            curve_of(bpy.data.objects["Head"].data.shape_keys, shape).select = True
        bpy.ops.graph.view_all()
    yield 1.0
    photograph("done")


def way(stops: tuple[float, ...]) -> np.ndarray:
    """Values from stop to stop, slow at both ends, and a short rest at each."""
    ease = 0.5 - 0.5 * np.cos(np.linspace(0, np.pi, FILM_STEPS))
    legs = [start + (end - start) * ease for start, end in pairwise(stops)]
    return np.concatenate([*legs, [stops[-1]] * 2])


def unfold(name: str) -> Iterator[float]:
    """Open the panel `name`, fold the others: Blender opens a panel it has not seen before as the class says."""
    for number, (other, panel) in enumerate(PANELS.items()):
        bpy.utils.unregister_class(panel)
        panel.bl_options = set() if other == name else {"DEFAULT_CLOSED"}
        panel.bl_idname = f"{panel.__name__}_{name}"
        panel.bl_order = number
        bpy.utils.register_class(panel)
    view().tag_redraw()
    yield 1.0


def demo_head(name: str) -> bpy.types.Object:
    """The demo's head, selected alone, with all ARKit shapes."""
    from demo.head import build_head

    for obj in bpy.context.scene.objects:
        obj.select_set(name != "Head" and obj.type == "MESH")
    head = build_head(ROOT / "vendored_models" / "demo_head", *arkit_basis())
    head.name = name
    head.children[0].data.materials[0].diffuse_color = (0.03, 0.018, 0.01, 1.0)  # the hair
    without_cornea(head.data)
    for key in head.data.shape_keys.key_blocks:
        key.value = 0.0  # Blender 5 makes new ones with 1
    bpy.context.view_layer.objects.active = head
    head.select_set(True)
    return head


def without_cornea(mesh: bpy.types.Mesh) -> None:
    """Take away what is clear in a render and white in solid shading."""
    work = bmesh.new()
    work.from_mesh(mesh)
    clear = [face for face in work.faces if mesh.materials[face.material_index].name.startswith("cornea")]
    bmesh.ops.delete(work, geom=clear, context="FACES")
    work.to_mesh(mesh)
    work.free()


def curve_of(keys: bpy.types.Key, shape: str) -> bpy.types.FCurve:
    """The F-curve that plays on the shape key `shape`."""
    data = keys.animation_data
    curves = data.action.layers[0].strips[0].channelbag(data.action_slot).fcurves
    return curves.find(f'key_blocks["{shape}"].value')


def go_to_highest(keys: bpy.types.Key, shape: str) -> None:
    """Show the frame at which `shape` is at its highest."""
    frames, values = np.array([point.co for point in curve_of(keys, shape).keyframe_points]).T
    bpy.context.scene.frame_set(int(frames[values.argmax()]))


def settings() -> Any:
    """What the tab is set to."""
    return bpy.context.scene.wav2sem_lipsync


def job() -> Any:
    """How far the run is."""
    return bpy.context.window_manager.wav2sem_job


def generate() -> None:
    """Click Generate."""
    with in_area(view()):
        bpy.ops.wav2sem.generate_lipsync("INVOKE_DEFAULT")


def until_done() -> Iterator[float]:
    """Wait for the run."""
    until = time.monotonic() + 120
    while job().running and time.monotonic() < until:
        yield 0.05
    yield 1.0


def areas() -> list[Any]:
    """The editors in the window."""
    return list(bpy.context.window_manager.windows[0].screen.areas)


def view() -> Any:
    """The 3D viewport, the upper one of two."""
    return max((area for area in areas() if area.type == "VIEW_3D"), key=lambda area: area.y)


def region(area: Any, kind: str) -> Any:
    """The region of this kind in an editor."""
    return next(region for region in area.regions if region.type == kind)


def in_area(area: Any) -> Any:
    """As if the mouse were over this editor."""
    window = bpy.context.window_manager.windows[0]
    return bpy.context.temp_override(window=window, area=area, region=region(area, "WINDOW"))


def box(thing: Any) -> tuple[int, int, int, int]:
    """Left, top, width, height of an area or a region on the screen; Blender counts from below."""
    return thing.x, bpy.context.window_manager.windows[0].height - thing.y - thing.height, thing.width, thing.height


def press(key: str) -> None:
    """A key on the keyboard, the mouse over the view."""
    subprocess.run(["xdotool", "mousemove", "500", "450"], check=True)
    subprocess.run(["xdotool", "key", key], check=True)


def photograph(name: str, *options: str) -> None:
    """Save the screen as a PNG of 255 colours."""
    PHOTOS.mkdir(parents=True, exist_ok=True)
    small = ["+dither", "-colors", "255", "-strip", "-define", "png:compression-level=9", f"{PHOTOS}/{name}.png"]
    subprocess.run(["import", "-window", "root", f"{bpy.app.tempdir}/photo.png"], check=True)
    subprocess.run(["convert", f"{bpy.app.tempdir}/photo.png", *options, "+repage", *small], check=True)


def photograph_sidebar(name: str) -> None:
    """Save the sidebar, as far down as there is something."""
    x, y, width, height = box(region(view(), "UI"))
    without_tabs = width - round(23 * UI_SCALE)
    border = ("-bordercolor", "#303030", "-border", "8")
    photograph(name, "-crop", f"{without_tabs}x{height - 12}+{x}+{y}", "+repage", "-trim", *border)


steps = visit()


def tick() -> float | None:
    """Go on with the visit; at its end, or when something fails, quit."""
    try:
        return next(steps)
    except StopIteration:
        print(f"Photographs lie in {PHOTOS}", flush=True)
    except Exception:
        traceback.print_exc()
    bpy.ops.wm.quit_blender()
    return None


bpy.app.timers.register(tick, first_interval=2.0, persistent=True)
