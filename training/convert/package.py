# SPDX-License-Identifier: GPL-3.0-or-later
"""Writing a model package beside its place and moving it there only when it is whole and loads."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from inference import LipSyncError, LipSyncModel

from ..storage import shrink
from . import ConvertError
from .graph import write_memory_graph, write_sentence_graph
from .layout import BIWI_OUTPUTS, VOCASET_OUTPUTS, FaceFormer

# Order of the subjects in the official one-hot vectors.
VOCASET_SUBJECTS = (
    "FaceTalk_170728_03272_TA", "FaceTalk_170904_00128_TA", "FaceTalk_170725_00137_TA", "FaceTalk_170915_00223_TA",
    "FaceTalk_170811_03274_TA", "FaceTalk_170913_03279_TA", "FaceTalk_170904_03276_TA", "FaceTalk_170912_03278_TA",
)  # fmt: skip
BIWI_SUBJECTS = ("F2", "F3", "F4", "M3", "M4", "M5")
_DEFAULT_SUBJECTS = ("FaceTalk_170913_03279_TA", "F2")  # the official demo's
_LICENCE = {
    False: "Weights derived from VOCASET: non-commercial research only (Max Planck Institute); FaceFormer's code: MIT",
    True: "Weights derived from BIWI 3D Audiovisual Corpus: research only; FaceFormer's code: MIT",
}
_ATTRIBUTION = (
    "FaceFormer: Fan, Lin, Saito, Wang, Komura, CVPR 2022",
    "wav2vec 2.0: Baevski, Zhou, Mohamed, Auli, NeurIPS 2020",
)
_WAV2SEM_ATTRIBUTION = "Wav2Sem: CVPR 2025, arXiv 2505.23290"
_PACKAGE_FILES = frozenset({"model.json", "model.onnx", "wav2sem.onnx", "decoder.npz"})
_ENCODER_LONGEST = 40.0  # seconds of speech that the transformer hears at once


def write_package(model: FaceFormer, folder: Path, name: str, sources: dict[str, str], half: bool = False) -> None:
    """Write the package for `model` to `folder`, which is replaced if it is a package already and nothing besides.

    name: what people read in the list of models. sources: SHA-256 of the files that it was made from, by file name.
    half: store the audio networks in float16.
    Raises ConvertError when the folder cannot be written or the finished package does not load.
    """
    try:
        _check_place(folder)
        folder = folder.resolve()  # of “.” neither name nor parent say anything, and a link is not what is replaced
        folder.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    except OSError as error:
        raise ConvertError(f"“{folder}” cannot be written ({error.strerror or error}).") from error
    try:
        _write_files(model, beside, half)
        _write_json(model, beside, folder.name, name, sources)
        LipSyncModel.load(beside)
        beside.chmod(0o755)
        _put(beside, folder)
    except OSError as error:
        raise ConvertError(f"“{folder}” cannot be written ({error.strerror or error}).") from error
    except LipSyncError as error:
        raise ConvertError(f"The converted package does not load: {error}") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _check_place(folder: Path) -> None:
    """Raises ConvertError where the package would replace something else, such as the checkpoint it is made from."""
    if not folder.exists():
        return
    lying = {path.name for path in folder.iterdir()}
    if lying and "model.json" not in lying:
        raise ConvertError(f"“{folder}” exists and is no model package; choose another folder.")
    if others := sorted(lying - _PACKAGE_FILES):
        raise ConvertError(
            f"“{folder}” holds “{others[0]}” beside a model package, which would be lost; move it away or choose "
            "another folder."
        )


def _put(beside: Path, folder: Path) -> None:
    """Let `beside` take the place of `folder`, which is there again if that fails."""
    if not folder.exists():
        beside.rename(folder)
        return
    old = beside.with_name(f"{beside.name}.old")
    folder.rename(old)
    try:
        beside.rename(folder)
    except OSError:
        old.rename(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _write_files(model: FaceFormer, folder: Path, half: bool) -> None:
    semantic = model.wav2sem.hidden if model.wav2sem else 0
    write_memory_graph(folder / "model.onnx", model.encoder, model.feature_map, semantic, model.fusion)
    if model.wav2sem:
        write_sentence_graph(folder / "wav2sem.onnx", model.wav2sem)
    for path in folder.glob("*.onnx") if half else ():
        shrink(path)
    np.savez(folder / "decoder.npz", allow_pickle=False, **model.decoder)


def _write_json(model: FaceFormer, folder: Path, identifier: str, name: str, sources: dict[str, str]) -> None:
    subjects = BIWI_SUBJECTS if model.biwi else VOCASET_SUBJECTS
    styles = subjects if len(subjects) == model.styles else tuple(f"style {i}" for i in range(model.styles))
    topologies = {VOCASET_OUTPUTS: "flame-5023", BIWI_OUTPUTS: "biwi-23370"}
    attribution = [*_ATTRIBUTION, *([_WAV2SEM_ATTRIBUTION] if model.wav2sem else [])]
    data: dict[str, Any] = {
        "schema": 1,
        "id": re.sub(r"[^a-z0-9]+", "-", identifier.lower()).strip("-") or "faceformer",
        "name": name,
        "version": "1.0.0",
        "licence": _LICENCE[model.biwi],
        "attribution": attribution,
        "sample_rate": 16000,
        "fps": 25.0 if model.biwi else 30.0,
        "normalise": "unit-variance",
        "topology": topologies.get(model.outputs, f"vertices-{model.outputs // 3}"),
        "output": {"kind": "vertices"},
        "styles": list(styles),
        "default_style": next((s for s in _DEFAULT_SUBJECTS if s in styles), styles[0]),
        "encoder": {
            "kind": "wav2vec2",
            "kernels": list(model.encoder.kernels),
            "strides": list(model.encoder.config.strides),
            "longest": _ENCODER_LONGEST,
        },
        "decoder": {
            "period": model.period,
            "heads": 4,
            "memory_per_frame": 2 if model.biwi else 1,
            "longest": None,
        },
        "lip_vertices": [],
        "files": {path.name: sha256_of(path) for path in sorted(folder.glob("*.*"))},
        "converted_from": sources,
    }
    (folder / "model.json").write_text(json.dumps(data, indent=1), encoding="utf-8")


def sha256_of(path: Path) -> str:
    """Hex digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
