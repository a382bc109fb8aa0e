# SPDX-License-Identifier: GPL-3.0-or-later
"""What a speech is baked to: editable ARKit keys, the fewest exact shapes, or a vertex cache. No bpy: for the worker.

Exact shapes are the principal shapes of the motion as the head's sliders want it. With the Action goes the motion over
blendshapes and how that is mixed into the shapes, so that sliders and re-timing work on it as on ARKit keys; once they
are turned, the shapes span what they can of the new motion, and generating again makes it exact.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from ..inference import CurveSet, FaceMotion, MeshFit, make_curves, principal_view, write_cache
from ..inference.life import basis_of
from . import life_shaping, shaping, stored_result
from .arkit_names import Channel
from .shaping import Sliders
from .stored_result import Facts, StoredResult
from .vertex_cache import CacheFile, Plan

Tick = Callable[[float], None]  # told the fraction that is done; may raise Cancelled
Extras = Mapping[str, np.ndarray]  # what is stored beside the motion

ARKIT, EXACT, CACHE = "ARKIT", "EXACT", "CACHE"
MODES = (
    (ARKIT, "ARKit Keys", "Shape keys with ARKit names, to be edited in the Graph Editor"),
    (EXACT, "Exact", "The fewest shape keys that move every vertex as the model says, within a tolerance"),
    (CACHE, "Vertex Cache", "A file beside the .blend with every vertex of every frame, for renders"),
)


@dataclass(frozen=True)
class Baked:
    """What a mode made of a motion.

    raw: what is stored with the Action, b"" without one. curves: for shape keys, or what the cache holds.
    new_keys, shapes: shape keys to be added, and what they do (K, V, 3), metres in FLAME's axes.
    cache: the file that was written, None in other modes; it goes away with this unless it is kept. note: one
    sentence on how exact it is, "" for nothing to say.
    """

    raw: bytes
    curves: CurveSet
    new_keys: tuple[str, ...]
    shapes: np.ndarray
    cache: CacheFile | None = None
    note: str = ""


def arkit_keys(
    motion: FaceMotion,
    extras: Extras,
    channels: tuple[Channel, ...],
    new_keys: tuple[str, ...],
    facts: Facts,
    sliders: Sliders,
) -> Baked:
    """The weights of blendshapes on the keys of the mesh, `new_keys` of them to be added."""
    raw = stored_result.packed(StoredResult(motion, channels, extras))
    # From what is stored and not from what is at hand, so that Refine makes the same curves of it.
    curves = shaping.shape(stored_result.unpacked(raw), facts, sliders)
    return Baked(raw, curves, new_keys, motion.basis[[motion.names.index(name) for name in new_keys]])


def exact_shapes(
    motion: FaceMotion, extras: Extras, prefix: str, tolerance: float, facts: Facts, sliders: Sliders, tick: Tick
) -> Baked:
    """Principal shapes called `prefix`00, … that keep every vertex within `tolerance` metres."""
    whole, _ = _shaped(motion, facts, sliders)
    view = principal_view(whole, tolerance, lambda: tick(0.5))
    names = tuple(f"{prefix}{i:02d}" for i in range(len(view.motion.names)))
    shapes = view.motion.basis.reshape(len(names), -1).astype(np.float64)
    # The shapes are at right angles, so a blendshape's share in each is a plain projection.
    mixing = motion.basis.reshape(len(motion.names), -1) @ (shapes / np.square(shapes).sum(axis=1, keepdims=True)).T
    channels = tuple(Channel(name, (0,)) for name in names)
    result = StoredResult(motion, channels, {**extras, shaping.MIXING: mixing})
    raw = stored_result.packed(result)
    curves = shaping.shape(stored_result.unpacked(raw), facts, sliders)
    note = (
        f"Exact: {len(names)} shapes keep every vertex within {1e3 * tolerance:g} mm "
        f"({1e3 * view.largest:.3f} mm at most, {1e3 * view.rms:.4f} mm root mean square)."
    )
    return Baked(raw, curves, names, view.motion.basis, note=note)


def cached_vertices(
    motion: FaceMotion, extras: Extras, plan: Plan, fit: MeshFit, facts: Facts, sliders: Sliders, tick: Tick
) -> Baked:
    """A cache with the vertices of every scene frame, blinks and brows among them.

    Nothing is left of it when `tick` raises. Raises CacheError.
    """
    whole, start = _shaped(motion, facts, sliders)
    spoken = make_curves(whole, facts.fps, start)
    facts = replace(facts, tolerance=0.0)
    lively = life_shaping.every_shape(sliders.life)
    heard = StoredResult(motion, tuple(Channel(name, (i,)) for i, name in enumerate(motion.names)), extras)
    added = life_shaping.life_curves(heard, facts, lively)
    curves = replace(spoken, names=spoken.names + added.names, keys=spoken.keys + added.keys)
    basis = np.concatenate([whole.basis, basis_of(added.names)])
    first, last = curves.frame_range
    count, vertices = last - first + 1, len(plan.rest)
    path = write_cache(plan.folder, plan.stem, first, count, vertices, plan.blocks(curves, basis, fit, tick))
    note = f"Vertex cache “{path.name}”: {count} frames, {path.stat().st_size / 1e6:.0f} MB."
    return Baked(b"", curves, (), np.empty((0, vertices, 3), np.float32), CacheFile(path), note)


def _shaped(motion: FaceMotion, facts: Facts, sliders: Sliders) -> tuple[FaceMotion, float]:
    """`motion` as the sliders want it, with all of its basis and free of the limits of blendshapes; its first frame."""
    stored = stored_result.unpacked(stored_result.packed(StoredResult(motion, (Channel("all", (0,)),))))
    shaped, start = shaping.on_timeline(stored.motion, facts, sliders)
    return replace(shaped, names=motion.names, basis=motion.basis, kind="vertices"), start
