# SPDX-License-Identifier: GPL-3.0-or-later
"""Writing a computed lip sync into the file: all of it or nothing."""

from __future__ import annotations

import json
from collections.abc import Generator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any

import bpy

from ..inference import CurveSet, LipSyncError, MeshError
from ..inference.pieces import Piece, to_plain
from . import (
    animation,
    bake_modes,
    destinations,
    face_properties,
    id_bytes,
    ids,
    life_keys,
    refine,
    shape_keys,
    sound,
    stored_result,
    strip_curves,
    target_mesh,
    verify,
    vertex_cache,
)
from .animated import Animated
from .causes import listed
from .destinations import Written
from .frames import frame_rate
from .lipsync_task import Result, Task, find_scene
from .playing import played_names
from .shaping import Sliders
from .strip_times import span_of

_NAMED = 5  # shape keys that a note names
_EXACT_LIMITS = (-2.0, 2.0)  # exact keys stay within ±1; twice that for who turns up the strength


@dataclass(frozen=True)
class Report:
    """What was baked, in words (`sentence`, `notes`, one plain sentence each) and numbers; `moves`: it was checked."""

    sentence: str
    notes: tuple[str, ...]
    moves: bool
    object: str
    action: str
    first_frame: int
    last_frame: int
    keys: int
    speech_seconds: float
    compute_seconds: float
    write_seconds: float
    cache: str = ""


def write(task: Task, result: Result) -> Report:
    """Write shape keys, animation and sound; raises LipSyncError and leaves everything as it was if one step fails."""
    steps = slices(task, result)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def slices(task: Task, result: Result) -> Generator[bool, None, Report]:
    """`write` in slices, so that a timer need not wait for all: the change, Blender's update, a look at the mouth."""
    began = perf_counter()
    obj = target_mesh.find(task.target)
    scene = find_scene(task.scene)
    if scene is None:
        raise MeshError(f"The scene of “{obj.name}” was deleted while its speech was being analysed; generate again.")
    if abs(frame_rate(scene) - task.fps) > 1e-6:
        raise MeshError(
            f"The frame rate of “{scene.name}” changed while the speech was being analysed; generate again."
        )
    _check_keys(obj, task, result)
    first, last = result.curves.frame_range
    with ExitStack() as undo:
        before = played_names(obj.data.shape_keys)
        pieces = sound.place(scene, task.source, result.pieces, undo)
        if result.baked.cache is None:
            found = [vertex_cache.switch_off(each, first, last, undo) for each in face_properties.sharing(obj)]
            earlier = _cache_note(next(filter(None, found), ""), "is switched off")
            written = _animate(obj, task, result, pieces, undo)
            if face_properties.snapshot(obj, scene) != task.sliders:  # turned while the network ran
                refine.refresh(obj, scene)
            face_properties.share(obj)
        else:
            earlier = _cache_note(vertex_cache.playing(obj), "plays no more; its file stays where it is")
            written = _play_cache(obj, task, result, undo)
        refine.nod(obj, scene, undo)
        if obj.data.shape_keys:
            shape_keys.come_to_rest(obj.data.shape_keys, before - played_names(obj.data.shape_keys), undo)
        sound.play_in_sync(scene, last, undo)
        undo.pop_all()
    if result.baked.cache is not None:
        result.baked.cache.keep()
    unspoken = _unspoken(sound.others(scene, task.source, pieces))
    elsewhere = sound.elsewhere(scene)
    outside = _outside(scene, task, last)
    where = outside, _stretched(scene), unspoken, elsewhere
    remarks = task.source.note, result.baked.note, earlier, *where, result.device_note
    notes = _notes(task, written, remarks)
    name, seconds = obj.name, perf_counter() - began
    yield False
    for layer in getattr(find_scene(task.scene), "view_layers", ()):
        layer.update()
    yield False
    problem, spoken = _problem(task, first), _spoken(result, written.own)
    return Report(
        sentence=problem or _sentence(name, result, spoken),
        notes=notes,
        moves=not problem,
        object=name,
        action=written.action,
        first_frame=first,
        last_frame=last,
        keys=0 if result.baked.cache else spoken.key_count,
        speech_seconds=round(result.speech_seconds, 3),
        compute_seconds=round(result.compute_seconds, 3),
        write_seconds=round(seconds, 3),
        cache=str(result.baked.cache.path) if result.baked.cache else "",
    )


def _animate(obj: bpy.types.Object, task: Task, result: Result, pieces: tuple[Piece, ...], undo: ExitStack) -> Written:
    """Shape keys and their animation."""
    if result.baked.new_keys:
        assert task.target.fit is not None
        limits = _EXACT_LIMITS if task.prefix else (0.0, 1.0)
        shape_keys.add_keys(obj, result.baked.new_keys, result.baked.shapes, task.target.fit, undo, limits)
    life_keys.add(obj, task.target, task.life_keys, undo)
    written = destinations.write(
        obj.data.shape_keys,
        result.curves,
        f"{obj.name} Lip Sync",
        task.options.destination,
        _about(task, pieces),
        undo,
        task.options.keep_edits,
    )
    action = bpy.data.actions[written.action, None]
    id_bytes.store(action, ids.RAW, result.baked.raw)
    strip_curves.remember(action, task.sliders.amounts["offset"])
    return written


def _play_cache(obj: bpy.types.Object, task: Task, result: Result, undo: ExitStack) -> Written:
    """The modifier instead of an animation; also for those that would fall silent, as they share the shape keys."""
    assert task.plan is not None and result.baked.cache is not None
    undo.callback(result.baked.cache.delete)
    first, last = result.curves.frame_range
    replaced = destinations.withdraw(obj.data.shape_keys, first, last, undo)
    modifier = vertex_cache.attach(obj, result.baked.cache.path, task.plan, undo)
    for other in face_properties.sharing(obj)[1:] if replaced else ():
        if other.is_editable and not vertex_cache.playing(other):
            vertex_cache.attach(other, result.baked.cache.path, task.plan, undo)
    return Written("", f"modifier “{modifier.name}”", replaced)


def _check_keys(obj: bpy.types.Object, task: Task, result: Result) -> None:
    """Shape keys may have come or gone while the network ran."""
    blocks = obj.data.shape_keys.key_blocks if obj.data.shape_keys else {}
    new = set(result.baked.new_keys)
    wanted = {channel.key for channel in task.channels} - new
    if not wanted <= set(blocks.keys()) or new & set(blocks.keys()):
        raise MeshError(f"The shape keys of “{obj.name}” changed while its speech was being analysed; generate again.")


def _about(task: Task, pieces: tuple[Piece, ...]) -> str:
    """JSON that is stored with the Action: enough to know where it came from."""
    return json.dumps(
        {
            "schema": 1,
            "speech": task.source.name,
            "model": task.package.id,
            "version": task.package.version,
            "style": task.options.style or task.package.default_style,
            "start_frame": task.start_frame,
            "fps": task.fps,
            "tolerance": task.options.tolerance,
            "keys": task.prefix or bake_modes.ARKIT,
            "pieces": to_plain(pieces),
        }
    )


def _problem(task: Task, first: int) -> str:
    """Why the mouth does not move, one sentence; the user may have done anything since it was written."""
    try:
        obj, scene = target_mesh.find(task.target), find_scene(task.scene)
    except MeshError as error:
        return str(error)
    if scene is None or not (obj.data.shape_keys or vertex_cache.find(obj)):
        return f"The lip sync of “{obj.name}” was undone before it could be looked at."
    return verify.problem(scene, obj, first)


def _spoken(result: Result, own: tuple[str, ...]) -> CurveSet:
    """The curves without those of the shape keys `own`, which are left to the user."""
    pairs = [pair for pair in zip(result.curves.names, result.curves.keys, strict=True) if pair[0] not in own]
    return replace(result.curves, names=tuple(name for name, _ in pairs), keys=tuple(keys for _, keys in pairs))


def _sentence(name: str, result: Result, spoken: CurveSet) -> str:
    if result.baked.cache is not None:
        return f"“{name}” speaks for {result.speech_seconds:.1f} s from a vertex cache."
    keys = f"{spoken.key_count} keys on {len(spoken.names)} shape keys"
    return f"“{name}” speaks for {result.speech_seconds:.1f} s: {keys}."


def _outside(scene: bpy.types.Scene, task: Task, last: int) -> str:
    """One sentence where the speech is over, at frame `last`, before the scene begins; the scene's end goes along."""
    if last >= scene.frame_start:
        return ""
    way = "move its strip" if task.source.placed else "choose a later start frame"
    return f"The speech is over at frame {last}, and the scene begins at frame {scene.frame_start}; {way}."


def _stretched(scene: bpy.types.Scene) -> str:
    """One sentence where the keys are played at another speed than the sound, or ""."""
    if scene.render.frame_map_old == scene.render.frame_map_new:
        return ""
    return "The scene stretches the time of keys, and not that of the sound: the lips drift; switch that off in Output."


def _unspoken(strips: list[Any]) -> str:
    """One sentence on the first of the sound `strips` that no lip sync in the file speaks, as tries leave them."""
    marks: set[str] = set()
    for keys in bpy.data.shape_keys if strips else ():
        for bake in animation.bakes(keys):
            with suppress(LipSyncError):
                marks |= {piece.mark for piece in stored_result.facts(bake.action).pieces}
    for strip in strips:
        if strip.get(ids.PIECE) not in marks:
            return (
                f"The same sound is heard from frame {span_of(strip)[0]:g} on, where nobody speaks it; mute it there."
            )
    return ""


def _cache_note(cache: str, fate: str) -> str:
    return f"The vertex cache “{cache}” of an earlier bake {fate}." if cache else ""


def _notes(task: Task, written: Written, remarks: tuple[str | None, ...]) -> tuple[str, ...]:
    place = "" if written.place == "action" else f" in the {written.place}"
    notes = [f"Action “{written.action}”{place}." if written.action else f"Played by the {written.place}."]
    if written.place.startswith("slot") and task.options.destination != "SLOT":
        notes.append("It went where the earlier lip sync is, among the curves of your own action.")
    if written.replaced:
        notes.append(f"The earlier bake is kept as action “{written.replaced}”.")
    if written.edited:
        notes.append(f"Kept as you edited them by hand: {written.edited} key{'s' * (written.edited > 1)}.")
    stays = ["muted regions"] * bool(task.sliders.mutes) + ["keyed sliders"] * _is_keyed(task.sliders)
    if written.moved and stays:
        what = " and ".join(stays).capitalize()
        notes.append(f"{what} stay on their frames, though the speech moved; Re-time takes them along with a strip.")
    if written.left:
        notes.append(f"What you edited by hand stays in “{written.left}”, on shape keys that this bake does not have.")
    if written.bare:
        notes.append("The modifiers of the animation strip that it replaced are lost; no script can make them anew.")
    if written.own:
        notes.append(f"Left to your own keys: {listed(written.own, most=_NAMED)}.")
    if written.covered:
        notes.append(f"Your own action plays on top and also animates {listed(written.covered, most=_NAMED)}.")
    if task.plan is not None and task.sliders.life.shapes:
        notes.append("Blinks and brows are not in a vertex cache; bake ARKit keys for them.")
    if task.target.driven:
        notes.append(f"Left to their drivers: {listed(sorted(task.target.driven), most=_NAMED)}.")
    if task.target.fit is not None and task.target.fit.warning:
        notes.append(task.target.fit.warning)
    return (*notes, *filter(None, remarks))


def _is_keyed(sliders: Sliders) -> bool:
    settings = (*sliders.amounts.values(), *sliders.life.amounts.values())
    return any(isinstance(setting, Animated) for setting in settings)
