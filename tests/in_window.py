# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs inside a Blender with a window (see test_window.py): generates, cancels, undoes, and prints what it saw as JSON.

Everything goes through Blender's own event loop: timers tick, Esc and Ctrl+Z are keys that xdotool presses. With a
folder in LIPSYNC_PHOTOS it saves photographs of the window there.
"""

from __future__ import annotations

import glob
import json
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import bpy
import numpy as np

ROOT = Path.cwd()
sys.dont_write_bytecode = True
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "blender")]
# A Blender whose extension was installed once has its libraries here, also for a package that is not installed.
sys.path += glob.glob(bpy.utils.user_resource("EXTENSIONS") + "/.local/lib/python*/site-packages")

import bake  # noqa: E402

bake.load_package()

import heads  # noqa: E402
import soundfile  # noqa: E402
import wav2sem_lipsync  # noqa: E402
from wav2sem_lipsync.inference import arkit_basis  # noqa: E402
from wav2sem_lipsync.operators.run_operator import RunOperator  # noqa: E402
from wav2sem_lipsync.panels.bake_panel import LIPSYNC_PT_bake  # noqa: E402
from wav2sem_lipsync.panels.edits_panel import LIPSYNC_PT_edits  # noqa: E402
from wav2sem_lipsync.panels.life_panel import LIPSYNC_PT_life  # noqa: E402
from wav2sem_lipsync.panels.queue_panel import LIPSYNC_PT_queue  # noqa: E402
from wav2sem_lipsync.panels.refine_panel import LIPSYNC_PT_refine  # noqa: E402

DEMO = ROOT / "vendored_models" / "demo_speech" / "speech.flac"
facts: dict[str, Any] = {}
ticks: list[tuple[float, float, str]] = []  # milliseconds of wall clock and of processor, and what was done


def steps() -> Iterator[float]:
    """The whole visit; yields the seconds to wait."""
    yield from prepare()
    yield from cancelled_in_the_middle()
    yield from to_the_end_and_undone()
    yield from a_queue()
    yield from life()
    yield from a_flame_head()


def prepare() -> Iterator[float]:
    """The demo head in the view, the tab open."""
    press("Escape")  # the splash screen
    bpy.context.preferences.view.ui_scale = 0.85  # all panels on the photographs
    for panel in (LIPSYNC_PT_bake, LIPSYNC_PT_refine, LIPSYNC_PT_edits):
        panel.bl_options = {"DEFAULT_CLOSED"}
    for panel in (LIPSYNC_PT_queue, LIPSYNC_PT_life):
        panel.bl_options = set()
    wav2sem_lipsync.register()
    for obj in list(bpy.data.objects):
        bpy.data.objects.remove(obj)
    demo_head("Demo")
    samples, rate = soundfile.read(DEMO)
    soundfile.write(sound("long.wav"), np.tile(samples, 12), rate)
    soundfile.write(sound("short.wav"), samples, rate)
    yield 1.0
    area = view()
    area.spaces.active.show_region_ui = True
    area.spaces.active.shading.type = "SOLID"
    yield 1.0
    next(region for region in area.regions if region.type == "UI").active_panel_category = "Lip Sync"
    with in_view():
        bpy.ops.view3d.view_axis(type="FRONT")
        bpy.ops.view3d.view_selected()
    settings().audio_path = sound("long.wav")
    push("ready")
    generate()  # loads the model
    yield from while_running()
    press("ctrl+z")
    yield 1.0
    measure_ticks()


def cancelled_in_the_middle() -> Iterator[float]:
    """Esc while the network listens."""
    before = heads.fingerprint()
    generate()
    until = time.monotonic() + 60
    while job().progress < 0.3 and job().running and time.monotonic() < until:
        yield 0.05
    facts["cancelled at"] = round(job().progress, 2)
    photograph("running")
    press("Escape")
    yield from while_running()
    facts["cancel changed"] = difference(before)
    facts["cancel says"] = [job().level, job().message]
    photograph("cancelled")


def to_the_end_and_undone() -> Iterator[float]:
    """One step back takes all of it, one forward brings it again."""
    push("before")
    before = heads.fingerprint()
    ticks.clear()
    generate()
    yield from while_running()
    facts["generate ticks"] = summary()
    done = heads.fingerprint()
    facts["generate changed"] = done != before
    facts["generate says"] = [job().level, job().message]
    photograph("done")
    press("ctrl+z")
    yield 1.0
    facts["undo left"] = difference(before)
    press("ctrl+shift+z")
    yield 1.0
    facts["redo lacks"] = difference(done)
    press("ctrl+z")
    yield 1.0


def a_queue() -> Iterator[float]:
    """Three heads; Esc in the second; the rest later; undone head by head."""
    for number, name in enumerate(("Anna", "Ben")):
        demo_head(name).location.x = 0.35 * (number + 1)
    for obj in bpy.context.scene.objects:
        obj.select_set(obj.type == "MESH")
    with in_view():
        bpy.ops.view3d.view_selected()
        bpy.ops.wav2sem.queue_add_selected()
    push("queue filled")
    before = heads.fingerprint()
    ticks.clear()
    with in_view():
        bpy.ops.wav2sem.generate_all("INVOKE_DEFAULT")
    until = time.monotonic() + 90
    while statuses()[0] != "DONE" and time.monotonic() < until:
        yield 0.05
    yield 0.5
    photograph("queue")
    press("Escape")
    yield from while_running()
    facts["queue after Esc"] = statuses()
    with in_view():
        bpy.ops.wav2sem.generate_all("INVOKE_DEFAULT")
    yield from while_running()
    facts["queue at the end"] = statuses()
    facts["queue says"] = [job().level, job().message]
    facts["queue ticks"] = summary()
    photograph("queue_done")
    for _ in statuses():
        press("ctrl+z")
        yield 1.0
    facts["queue undo left"] = difference(before)


def life() -> Iterator[float]:
    """The sliders of Eyes & Life on a head that speaks."""
    head = bpy.data.objects["Demo"]
    for obj in bpy.context.scene.objects:
        obj.select_set(obj == head)
    bpy.context.view_layer.objects.active = head
    settings().audio_path = sound("short.wav")
    generate()
    yield from while_running()
    sliders = head.wav2sem_face.life
    sliders.blinks, sliders.brows, sliders.nod = 1.0, 1.0, 1.0
    lids = [key for key in head.data.shape_keys.key_blocks if key.name.startswith("eyeBlink")]
    shut = 0.0
    for frame in range(1, 130):
        bpy.context.scene.frame_set(frame)
        if min(key.value for key in lids) > shut:
            shut, at = min(key.value for key in lids), frame
    bpy.context.scene.frame_set(at)
    facts["lids shut"] = round(shut, 3)
    facts["nods"] = sliders.nod_object is not None
    with in_view():
        bpy.ops.view3d.view_selected()
    yield 1.0
    photograph("life")


def a_flame_head() -> Iterator[float]:
    """How long the ticks are on the mesh that the extension is made for."""
    for obj in bpy.context.scene.objects:
        obj.select_set(False)
    heads.made_up_head("Flame")
    yield 0.5
    settings().audio_path = sound("long.wav")
    ticks.clear()
    generate()
    yield from while_running()
    facts["FLAME says"] = [job().level, job().message]
    facts["FLAME ticks"] = summary()


def demo_head(name: str) -> bpy.types.Object:
    """The demo's head, upright and selected, with all ARKit shapes."""
    from demo.head import build_head

    head = build_head(ROOT / "vendored_models" / "demo_head", *arkit_basis())
    head.name = name
    for key in head.data.shape_keys.key_blocks:
        key.value = 0.0  # Blender 5 makes new ones with 1
    bpy.context.view_layer.objects.active = head
    head.select_set(True)
    return head


def difference(before: str) -> list[str]:
    """What of the file is not as it was."""
    then, now = json.loads(before), json.loads(heads.fingerprint())
    return [
        f"{key}: {str(then.get(key))[:300]} -> {str(now.get(key))[:300]}"
        for key in sorted(then | now)
        if then.get(key) != now.get(key)
    ]


def sound(name: str) -> str:
    """Path of a sound file of this visit."""
    return str(Path(bpy.app.tempdir) / name)


def settings() -> Any:
    return bpy.context.scene.wav2sem_lipsync


def job() -> Any:
    return bpy.context.window_manager.wav2sem_job


def statuses() -> list[str]:
    return [entry.status for entry in bpy.context.scene.wav2sem_queue.entries]


def generate() -> None:
    with in_view():
        bpy.ops.wav2sem.generate_lipsync("INVOKE_DEFAULT")


def while_running() -> Iterator[float]:
    until = time.monotonic() + 120
    while job().running and time.monotonic() < until:
        yield 0.05
    yield 0.7


def view() -> Any:
    return next(area for area in bpy.context.window_manager.windows[0].screen.areas if area.type == "VIEW_3D")


def in_view() -> Any:
    region = next(region for region in view().regions if region.type == "WINDOW")
    return bpy.context.temp_override(window=bpy.context.window_manager.windows[0], area=view(), region=region)


def push(message: str) -> None:
    with in_view():
        bpy.ops.ed.undo_push(message=message)


def press(key: str) -> None:
    """A key on the keyboard, the mouse over the view."""
    subprocess.run(["xdotool", "mousemove", "500", "450"], check=True)
    subprocess.run(["xdotool", "key", key], check=True)


def photograph(name: str) -> None:
    folder = os.environ.get("LIPSYNC_PHOTOS")
    if folder:
        subprocess.run(["import", "-window", "root", f"{folder}/{name}.png"], check=False)


def measure_ticks() -> None:
    """From now on every tick of a run is timed."""
    original: Callable[..., set[str]] = RunOperator.modal

    def timed(self: Any, context: Any, event: Any) -> set[str]:
        wall, processor = time.perf_counter(), time.thread_time()
        before = job().stage
        result = original(self, context, event)
        if event.type == "TIMER":
            took = 1000 * (time.perf_counter() - wall), 1000 * (time.thread_time() - processor)
            ticks.append((*took, f"{before} > {job().stage if job().running else 'end'}"))
        return result

    RunOperator.modal = timed  # type: ignore[method-assign]


def summary() -> dict[str, Any]:
    """How long the ticks were, in milliseconds: how many, the median, the longest five; wall clock and processor."""
    longest = sorted(ticks, key=lambda tick: -tick[1])[:8]
    return {
        "count": len(ticks),
        "median": [round(float(np.median([tick[i] for tick in ticks])), 2) for i in (0, 1)],
        "longest": [[round(wall, 1), round(processor, 1), what] for wall, processor, what in longest],
    }


visit = steps()


def tick() -> float | None:
    """Go on with the visit; at its end print the facts and quit."""
    try:
        return next(visit)
    except StopIteration:
        pass
    except Exception:
        facts["error"] = traceback.format_exc()
    print("FACTS", json.dumps(facts), flush=True)
    bpy.ops.wm.quit_blender()
    return None


bpy.app.timers.register(tick, first_interval=2.0, persistent=True)
