# SPDX-License-Identifier: GPL-3.0-or-later
"""A model that moves vertices, as official weights do, is baked as ARKit blendshapes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import bpy
import numpy as np
import pytest
from heads import fit_of, largest_error, made_up_head
from toy_package import decoder_arrays, make_toy_package, write_json

EXACT = 2e-5  # metres


def vertex_package(folder: Path, vertices: int, topology: str) -> Path:
    """The toy model with random smooth outputs of a few millimetres."""
    make_toy_package(folder)
    arrays = decoder_arrays(outputs=3 * vertices)
    arrays["vertice_map_r.weight"] *= 0.01
    arrays["vertice_map_r.bias"] *= 0.01
    arrays["vertice_map.weight"] *= 0.01
    np.savez(folder / "decoder.npz", **arrays)
    write_json(folder, output={"kind": "vertices"}, topology=topology)
    return folder


def test_bakes_arkit_weights(settings: Any, tmp_path: Path, speech_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from wav2sem_lipsync.inference import LipSyncModel, ModelPackage, arkit_view, blendshape_names, read_speech
    from wav2sem_lipsync.operators import model_list

    package = ModelPackage.read(vertex_package(tmp_path / "toy", 5023, "flame-5023"))
    monkeypatch.setattr(model_list, "packages", lambda context: [package])
    head = made_up_head()
    assert bpy.ops.wav2sem.generate_lipsync("EXEC_DEFAULT", True) == {"FINISHED"}
    motion = arkit_view(LipSyncModel.load(package).run(read_speech(speech_file))).motion
    names = blendshape_names(package)
    assert motion.names[: len(names)] == names and motion.weights[:, : len(names)].max() > 0.01
    shown = replace(motion, names=names, weights=motion.weights[:, : len(names)], basis=motion.basis[: len(names)])
    assert largest_error(head, shown, fit_of(head), 1) < EXACT


def test_a_model_of_another_mesh_is_refused(settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from wav2sem_lipsync.inference import ModelPackage
    from wav2sem_lipsync.operators import model_list

    package = ModelPackage.read(vertex_package(tmp_path / "toy", 21, "vertices-21"))
    monkeypatch.setattr(model_list, "packages", lambda context: [package])
    head = made_up_head()
    with pytest.raises(RuntimeError, match="21 vertices"):
        bpy.ops.wav2sem.generate_lipsync("EXEC_DEFAULT", True)
    assert head.data.shape_keys is None or head.data.shape_keys.animation_data is None
