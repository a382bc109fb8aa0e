# SPDX-License-Identifier: GPL-3.0-or-later
"""`make bench`: how long a slider of Refine takes, to curves that are rewritten and a mesh that is evaluated.

    .venv/bpy-4.5/bin/python -m benchmarks.refine [--seconds 60] [--repeats 15]

Medians on a head of 5023 vertices that says the demo sentence again and again, at 24 frames per second: with the
embedded model's shapes and with all 55 of the ARKit basis moving, with a key on every frame and with keys reduced to
1 %. Drawing the window comes on top.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import bpy
import numpy as np

from inference import LipSyncModel, Speech, arkit_basis, read_speech

ROOT = Path(__file__).resolve().parent.parent
SENTENCE = ROOT / "vendored_models" / "demo_speech" / "speech.flac"
FPS = 24.0
TURNS = {"strength": (0.5, 1.5), "jaw": (0.5, 1.5), "rounding": (0.5, 1.5), "smoothing": (0.01, 0.1), "offset": (-3, 3)}


def load_extension() -> str:
    """Register the extension; returns its name."""
    sys.path.insert(0, str(ROOT))
    package = str(import_module("bake").load_package())
    import_module(package).register()
    return package


def speaking_head(package: str, names: tuple[str, ...], weights: np.ndarray, rate: float, tolerance: float) -> Any:
    """A head whose shape keys `names` are baked from `weights` (T, K) at `rate` Hz, as Generate leaves it."""
    ids, refine, stored_result, id_bytes, arkit_names = (
        import_module(f"{package}.operators.{name}")
        for name in ("ids", "refine", "stored_result", "id_bytes", "arkit_names")
    )
    motion = import_module(f"{package}.inference").FaceMotion(rate, 0.0, names, weights, np.zeros((len(names), 0, 3)))
    known, deltas = arkit_basis()
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    mesh = bpy.data.meshes.new("bench")
    mesh.vertices.add(deltas.shape[1])
    head = bpy.data.objects.new("bench", mesh)
    bpy.context.scene.collection.objects.link(head)
    head.shape_key_add(name="Basis")
    for name in names:
        key = head.shape_key_add(name=name, from_mix=False)
        key.value = 0.0
        key.points.foreach_set("co", deltas[known.index(name)].ravel())
    action = bpy.data.actions.new("bench")
    slot = action.slots.new(id_type="KEY", name="bench")
    mesh.shape_keys.animation_data_create().action = action
    mesh.shape_keys.animation_data.action_slot = slot
    channels = tuple(arkit_names.Channel(name, (k,)) for k, name in enumerate(names))
    id_bytes.store(action, ids.RAW, stored_result.packed(stored_result.StoredResult(motion, channels)))
    action[ids.MARK] = json.dumps({"start_frame": 1.0, "fps": FPS, "tolerance": tolerance})
    refine.refresh(head, bpy.context.scene)
    bpy.context.view_layer.update()
    stored = len(action[ids.RAW]) / 1024, len(action[ids.WRITTEN]) / 1024
    print(f"  stored with the Action: {stored[0]:.0f} KB of the network's, {stored[1]:.0f} KB of generated curves")
    return head


def turn(package: str, head: Any, name: str, repeats: int) -> tuple[float, float, float]:
    """Median milliseconds of `repeats` changes: rewriting the curves, of that computing, evaluating the mesh."""
    face = getattr(head, import_module(f"{package}.operators.ids").FACE)
    rewriting, busy, evaluating = [], [], []
    for value in np.linspace(*TURNS[name], repeats):
        began, busy_before = time.perf_counter(), time.thread_time()
        setattr(face, name, float(value))
        written = time.perf_counter()
        busy.append(1e3 * (time.thread_time() - busy_before))
        bpy.context.view_layer.update()
        rewriting.append(1e3 * (written - began))
        evaluating.append(1e3 * (time.perf_counter() - written))
    setattr(face, name, face.bl_rna.properties[name].default)
    return statistics.median(rewriting), statistics.median(busy), statistics.median(evaluating)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", default=60, type=float, help="of speech")
    parser.add_argument("--repeats", default=15, type=int, help="changes of each slider")
    options = parser.parse_args()
    package = load_extension()
    sentence = read_speech(SENTENCE)
    count = int(options.seconds * len(sentence.samples) / sentence.duration)
    spoken = LipSyncModel.load().run(Speech(np.resize(sentence.samples, count)))
    names = arkit_basis()[0]
    others = [np.roll(spoken.weights[:, k % len(spoken.names)], 37 * k) for k in range(len(names))]
    every = np.stack(
        [spoken.weights[:, spoken.names.index(n)] if n in spoken.names else others[k] for k, n in enumerate(names)], 1
    )
    print(f"Blender {bpy.app.version_string}, {os.cpu_count()} cores, {options.seconds:g} s of speech; milliseconds")
    for shapes, weights in ((spoken.names, spoken.weights), (names, every)):
        for tolerance in (0.0, 0.01):
            print(f"{len(shapes)} shapes, {'reduced to 1 %' if tolerance else 'a key on every frame'}")
            head = speaking_head(package, shapes, weights, spoken.fps, tolerance)
            for name in TURNS:
                rewriting, busy, evaluating = turn(package, head, name, options.repeats)
                print(f"  {name:10s} curves {rewriting:6.1f} ({busy:5.1f} of it computing)   mesh {evaluating:5.1f}")
    sys.stdout.flush()
    os._exit(0)  # the bpy wheel may hang or crash while Python shuts down


if __name__ == "__main__":
    main()
