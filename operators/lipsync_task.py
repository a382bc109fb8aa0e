# SPDX-License-Identifier: GPL-3.0-or-later
"""The use case in three steps: `prepare` reads bpy, `Task.compute` runs on any thread, `bake.write` changes bpy."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from time import perf_counter

import bpy

from ..inference import (
    AudioError,
    Cancelled,
    CurveSet,
    FaceMotion,
    LipSyncModel,
    MeshError,
    ModelPackage,
    Speech,
    arkit_view,
    blendshape_names,
)
from ..inference.curves import SETTLE
from ..inference.pieces import Piece, duration
from ..inference.takes import Take, listen
from . import bake_modes, face_properties, life_keys, life_shaping, shape_keys, sound, target_mesh, vertex_cache
from .arkit_names import Channel
from .audio_source import AudioSource
from .bake_modes import Baked, Extras
from .frames import FIRST_FRAME, LAST_FRAME, frame_rate
from .job import Progress
from .shaping import Sliders
from .stored_result import Facts
from .target_mesh import TargetMesh

READING, LOADING, RUNNING = 0.03, 0.06, 0.97  # fractions of the whole at which the stages end


@dataclass(frozen=True)
class Options:
    """How to bake: start frame (scene frames, may lie between two), tolerance in weight (0: every key).

    destination: ACTION, SLOT or NLA. keep_edits: whether hand edits of the bake that loses its place are taken over.
    mode: ARKIT, EXACT or CACHE. exact_tolerance: metres of a life-size head. cache_folder: where a vertex cache goes,
    None for beside the .blend. threads: how many the model runs on, 0 for one per core.
    """

    start_frame: float = 1.0
    tolerance: float = 0.0
    destination: str = "ACTION"
    keep_edits: bool = True
    style: str | None = None
    device: str = "CPU"
    threads: int = 0
    mode: str = bake_modes.ARKIT
    exact_tolerance: float = 1e-4
    cache_folder: Path | None = None


@dataclass(frozen=True)
class Result:
    """Face motion, what was made of it, and how long it took (seconds).

    pieces: where the rows of the motion belong. device_note: one sentence when the model ran elsewhere than asked,
    else None.
    """

    motion: FaceMotion
    baked: Baked
    pieces: tuple[Piece, ...]
    speech_seconds: float
    compute_seconds: float
    device_note: str | None

    @property
    def curves(self) -> CurveSet:
        """The curves of shape keys, or of what a vertex cache holds."""
        return self.baked.curves


@dataclass(frozen=True)
class Task:
    """One bake, fully described without bpy.

    scene: Blender's session id of the scene, found again however it is renamed. fps: its rate (Hz).
    channels, new_keys: the ARKit keys that are driven, and those of them that are to be made on the mesh.
    sliders: what the head is set to. prefix: how exact keys are called. life_keys: keys to be
    made for blinks and brows. plan: for a vertex cache.
    """

    target: TargetMesh
    source: AudioSource
    package: ModelPackage
    options: Options
    scene: int
    fps: float
    channels: tuple[Channel, ...]
    new_keys: tuple[str, ...]
    sliders: Sliders = field(default_factory=Sliders)
    prefix: str = ""
    life_keys: tuple[str, ...] = ()
    plan: vertex_cache.Plan | None = None

    @property
    def facts(self) -> Facts:
        """How the result will lie in the scene."""
        return Facts(self.start_frame, self.fps, self.options.tolerance)

    @property
    def start_frame(self) -> float:
        """Scene frame at which the speech begins: the strip's, where it has one."""
        return self.options.start_frame if self.source.start_frame is None else self.source.start_frame

    def compute(self, progress: Progress, cancelled: Callable[[], bool]) -> Result:
        """Read, listen, make curves; touches no bpy. Raises LipSyncError, Cancelled among them."""
        began = perf_counter()
        progress(0.0, "Reading the speech")
        takes = self.source.takes(self.start_frame, self.fps)
        _check_frames(takes, self.fps)
        _stop_if(cancelled)
        progress(READING, "Loading the model")
        model = _model(self.package, self.options.device, self.options.threads)
        _stop_if(cancelled)

        def run(speech: Speech, done: float, share: float) -> FaceMotion:
            def tell(part: float, stage: str) -> None:
                progress(LOADING + (RUNNING - LOADING) * (done + share * part), stage)

            return model.run(speech, self.options.style, tell, cancelled)

        spoken = listen(takes, self.fps, run)
        progress(RUNNING, "Making keys")
        motion = spoken.motion
        if motion.kind == "vertices":
            motion = arkit_view(motion).motion
        facts = replace(self.facts, pieces=spoken.pieces)

        def tick(part: float) -> None:
            _stop_if(cancelled)
            progress(RUNNING + (1 - RUNNING) * part, "Writing the vertex cache" if self.plan else "Making keys")

        extras = {life_shaping.LOUDNESS: life_shaping.stored_loudness(spoken.loudness)}
        baked = self._bake(motion, extras, facts, tick)
        seconds = duration(spoken.pieces)
        return Result(motion, baked, spoken.pieces, seconds, perf_counter() - began, model.encoder.note)

    def _bake(self, motion: FaceMotion, extras: Extras, facts: Facts, tick: Callable[[float], None]) -> Baked:
        """What the mode makes of `motion`."""
        tick(0.0)
        if self.plan is not None:
            assert self.target.fit is not None
            return bake_modes.cached_vertices(motion, extras, self.plan, self.target.fit, facts, self.sliders, tick)
        elif self.prefix:
            tolerance = self.options.exact_tolerance
            return bake_modes.exact_shapes(motion, extras, self.prefix, tolerance, facts, self.sliders, tick)
        return bake_modes.arkit_keys(motion, extras, self.channels, self.new_keys, facts, self.sliders)


def prepare(
    scene: bpy.types.Scene, obj: bpy.types.Object | None, source: AudioSource, package: ModelPackage, options: Options
) -> Task:
    """Check everything that can be checked beforehand; raises LipSyncError with one sentence."""
    target = target_mesh.read_target(obj)
    names = blendshape_names(package)
    fps = frame_rate(scene)
    source = sound.as_heard(scene, source, options.start_frame)
    assert obj is not None
    face_properties.ensure()
    sliders = face_properties.snapshot(obj, scene)
    lively = life_keys.planned(obj, target, sliders.life.shapes)
    sliders = replace(sliders, life=replace(sliders.life, channels=lively.channels))
    if options.mode == bake_modes.ARKIT:
        channels, new_keys = target.bind(names)
        return Task(
            target, source, package, options, scene.session_uid, fps, channels, new_keys, sliders, life_keys=lively.new
        )
    task = Task(target, source, package, options, scene.session_uid, fps, (), (), sliders)
    if target.fit is None:
        raise MeshError(f"“{obj.name}” is no FLAME head, and only these can be baked exactly; choose ARKit Keys.")
    if options.mode == bake_modes.CACHE:
        return replace(task, plan=vertex_cache.plan(obj, options.cache_folder))
    if not target.can_create:
        raise MeshError(
            f"“{obj.name}” is a library override, which takes no new shape keys; choose ARKit Keys, or make the mesh "
            "local."
        )
    return replace(task, prefix=shape_keys.free_prefix(obj.data.shape_keys), life_keys=lively.new)


def find_scene(uid: int) -> bpy.types.Scene | None:
    """The scene with this session id, whatever it is called by now; None when it is gone."""
    return next((scene for scene in bpy.data.scenes if scene.session_uid == uid), None)


def _check_frames(takes: Sequence[Take], fps: float) -> None:
    """AudioError for speech that, until the face has come to rest, goes beyond Blender's frames."""
    first = min(take.begin for take in takes)
    last = max(take.stretches[-1].frames[-1] for take in takes) + math.ceil(SETTLE * fps)
    if not FIRST_FRAME <= first <= last <= LAST_FRAME:
        raise AudioError(
            f"The speech would last from frame {first:.0f} to {last:.0f}, Blender's frames from {FIRST_FRAME} to "
            f"{LAST_FRAME}; choose another start frame."
        )


def _stop_if(cancelled: Callable[[], bool]) -> None:
    if cancelled():
        raise Cancelled


def _model(package: ModelPackage, device: str, threads: int) -> LipSyncModel:
    return _loaded(package.folder, tuple(sorted(package.files.items())), device, threads)


@lru_cache(maxsize=1)
def _loaded(folder: Path, digests: tuple[tuple[str, str], ...], device: str, threads: int) -> LipSyncModel:
    """The last model is kept: loading takes longer than a sentence. `digests` tell that the folder changed."""
    return LipSyncModel.load(folder, device, threads)
