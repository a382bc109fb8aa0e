# SPDX-License-Identifier: GPL-3.0-or-later
"""Model packages: a folder with model.json, model.onnx, decoder.npz and, with Wav2Sem, wav2sem.onnx.

Reading one runs no code and trusts nothing: every field is checked, sizes are bounded before anything is
unpacked, and the files must have the SHA-256 that model.json promises.
"""

from __future__ import annotations

import hashlib
import json
import re
import stat
from collections.abc import Callable
from dataclasses import dataclass
from math import inf, prod
from pathlib import Path
from typing import Any

import numpy as np

from .closure import CLOSING_SHAPE, Closure
from .compact import DamagedData, unpack
from .errors import ModelError
from .speech import SAMPLE_RATE
from .steady import Steadiness
from .windows import LONGEST

SCHEMA = 1
TOPOLOGIES = {"flame-5023": 5023, "biwi-23370": 23370}
_OTHER_TOPOLOGY = re.compile(r"vertices-([1-9]\d{0,6})")  # a mesh known by its vertex count alone
OUTPUT_KINDS = ("blendshapes", "vertices")
ENCODER_KINDS = ("frames", "wav2vec2")
_FILES = ("model.onnx", "wav2sem.onnx", "decoder.npz")
_REQUIRED = ("model.onnx", "decoder.npz")
_JSON_LIMIT = 1 << 20
_FILE_LIMIT = 2 << 30  # protobuf's own limit
_DECODER_LIMIT = 1 << 29  # bytes unpacked: seven times the decoder of the largest official checkpoint, BIWI's


@dataclass(frozen=True)
class ModelPackage:
    """What model.json says, checked. `folder` holds the files named in `files` (name → SHA-256)."""

    folder: Path
    id: str
    name: str
    version: str
    licence: str
    attribution: tuple[str, ...]
    sample_rate: int
    fps: float
    normalise: str
    topology: str
    output_kind: str
    output_names: tuple[str, ...]
    styles: tuple[str, ...]
    default_style: str
    period: int
    heads: int
    memory_per_frame: int
    lip_vertices: tuple[int, ...]
    closure: Closure | None
    steadiness: Steadiness | None
    files: dict[str, str]
    encoder_kind: str = "frames"
    kernels: tuple[int, ...] = ()
    strides: tuple[int, ...] = ()
    encoder_longest: float = LONGEST
    decoder_longest: float = LONGEST

    @property
    def vertices(self) -> int:
        """Vertices of the mesh that the model moves."""
        return topology_vertices(self.topology)

    @staticmethod
    def read(folder: str | Path) -> ModelPackage:
        """Read and check the package in `folder`; raises ModelError with one sentence on what is wrong."""
        folder = Path(folder)
        path = folder / "model.json"
        try:
            if not path.is_file():
                raise ModelError(f"“{folder}” is not a model folder: it has no model.json.")
            if path.stat().st_size > _JSON_LIMIT:
                raise ModelError(f"The model.json in “{folder}” is too large to be one.")
            data = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise ModelError(f"The model.json in “{folder}” cannot be read: {error}.") from error
        package = _parse(folder, data)
        for name, digest in package.files.items():
            _check_file(folder / name, digest)
        return package

    def decoder_arrays(self) -> dict[str, np.ndarray]:
        """The decoder's parameters by their official names, float32; raises ModelError when they are damaged."""
        return read_arrays(self.folder / "decoder.npz")


def topology_vertices(topology: str) -> int:
    """Vertices of a topology id, 0 for an unknown one."""
    other = _OTHER_TOPOLOGY.fullmatch(topology)
    return int(other[1]) if other else TOPOLOGIES.get(topology, 0)


def list_packages(folder: str | Path) -> list[ModelPackage | ModelError]:
    """Every package directly below `folder`, by name; an unreadable one appears as its error."""
    found: list[ModelPackage | ModelError] = []
    for path in sorted(Path(folder).glob("*/model.json")):
        try:
            found.append(ModelPackage.read(path.parent))
        except ModelError as error:
            found.append(error)
    return found


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an .npz, as float32; raises ModelError for anything that is not plain finite numbers."""
    try:
        arrays = unpack(path.read_bytes(), _DECODER_LIMIT)
    except (OSError, DamagedData) as error:
        raise ModelError(f"“{path.name}” is damaged; copy the model folder again.") from error
    with np.errstate(over="ignore"):  # float64 may go beyond what float32 can hold: that is no finite number, either
        plain = {
            name: array.astype(np.float32, copy=False) for name, array in arrays.items() if array.dtype.kind == "f"
        }
    for name in arrays:
        if name not in plain or not np.isfinite(plain[name]).all():
            raise ModelError(f"“{path.name}” holds {name} with values that are no finite numbers.")
    return plain


def _check_file(path: Path, digest: str) -> None:
    try:
        status = path.stat()
        if status.st_size > _FILE_LIMIT:
            raise ModelError(f"“{path.name}” is larger than any model this version can run.")
        if not stat.S_ISREG(status.st_mode) or status.st_size == 0:  # a link to a device or a pipe may have no end
            raise OSError(0, "it is empty or no file")
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError as error:
        raise ModelError(f"“{path.name}” is missing from “{path.parent}”; copy the model folder again.") from error
    except OSError as error:
        raise ModelError(
            f"“{path}” cannot be read ({error.strerror}); copy the model folder to a place that you may read."
        ) from error
    if found != digest:
        raise ModelError(
            f"“{path.name}” in “{path.parent}” is not the file that model.json describes; copy the model folder again."
        )


class _Fields:
    """Fields of the model.json in `folder`: each as it should be, or a ModelError that names it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def fail(self, what: str) -> ModelError:
        """The error that says `what` is wrong with the file."""
        return ModelError(f"The model.json in “{self._folder}” {what}.")

    def one(
        self, table: Any, key: str, kind: type | tuple[type, ...], good: Callable[[Any], bool] = lambda _: True
    ) -> Any:
        """The value of `key`, of that kind and good."""
        value = table.get(key) if isinstance(table, dict) else None
        odd = isinstance(value, bool) or (isinstance(value, str) and not _writable_text(value))
        if not isinstance(value, kind) or odd or not good(value):
            raise self.fail(f"has no usable “{key}”")
        return value

    def texts(self, table: Any, key: str, least: int = 0) -> tuple[str, ...]:
        """Different texts, `least` or more."""
        value = self.one(table, key, list, lambda v: least <= len(v) <= 1024 and all(map(_writable_text, v)))
        if len(set(value)) != len(value):
            raise self.fail(f"names something twice in “{key}”")
        return tuple(value)

    def layers(self, table: Any, key: str) -> tuple[int, ...]:
        """A small number for each of a few convolutions."""

        def small(value: Any) -> bool:
            return type(value) is int and 1 <= value <= 64

        return tuple(self.one(table, key, list, lambda v: 1 <= len(v) <= 16 and all(map(small, v))))

    def longest(self, table: dict[str, Any]) -> float:
        """Seconds that a network runs on at most; null: as long as the clip."""
        seconds = table.get("longest", LONGEST)
        if seconds is None:
            return inf
        return float(self.one({"longest": seconds}, "longest", (int, float), lambda v: 4 <= v < 1e9))


def _is_whole(rate: float) -> bool:
    """Whether samples between answers are a whole number: else a graph drifts from the speech it is given."""
    samples = SAMPLE_RATE / rate
    return abs(samples - round(samples)) < 1e-9 * samples


def _parse(folder: Path, data: Any) -> ModelPackage:
    """The dataclass from parsed JSON; raises ModelError on the first field that is off."""
    fields = _Fields(folder)
    if not isinstance(data, dict):
        raise fields.fail("is not a JSON object")
    if data.get("schema") != SCHEMA:
        raise fields.fail(
            f"has schema {data.get('schema')!r}, this version reads schema {SCHEMA}; get a model made for this version"
        )
    output = fields.one(data, "output", dict)
    kind = fields.one(output, "kind", str, lambda v: v in OUTPUT_KINDS)
    decoder = fields.one(data, "decoder", dict)
    per_frame = fields.one(decoder, "memory_per_frame", int, lambda v: v in (1, 2))
    topology = fields.one(data, "topology", str, lambda v: topology_vertices(v) > 0)
    if kind == "blendshapes" and topology != "flame-5023":
        raise fields.fail("has no usable “topology”: blendshapes are those of a FLAME head, flame-5023")
    encoder = data.get("encoder", {"kind": "frames"})
    encoder_kind = fields.one(encoder, "kind", str, lambda v: v in ENCODER_KINDS)
    official = encoder_kind == "wav2vec2"
    kernels, strides = (fields.layers(encoder, key) if official else () for key in ("kernels", "strides"))
    fits = len(kernels) == len(strides) and prod(strides) <= SAMPLE_RATE
    if not fits or any(kernel < stride for kernel, stride in zip(kernels, strides, strict=True)):
        raise fields.fail("has no usable “strides”")
    styles = fields.texts(data, "styles", least=1)
    files = fields.one(data, "files", dict, lambda v: set(_REQUIRED) <= set(v) <= set(_FILES))
    if not all(isinstance(digest, str) and len(digest) == 64 for digest in files.values()):
        raise fields.fail("has no usable SHA-256 for its files")
    vertices = topology_vertices(topology)
    lips = data.get("lip_vertices", [])
    if not isinstance(lips, list) or not all(isinstance(i, int) and 0 <= i < vertices for i in lips):
        raise fields.fail("has no usable “lip_vertices”")
    names = fields.texts(output, "names", least=1) if kind == "blendshapes" else ()
    closure = _closure(data["closure"], names, styles, vertices) if data.get("closure") is not None else None
    if closure is None and data.get("closure") is not None:
        raise fields.fail("has no usable “closure”")
    steadiness = _steadiness(data["steadiness"]) if closure and data.get("steadiness") is not None else None
    if steadiness is None and data.get("steadiness") is not None:
        raise fields.fail("has no usable “steadiness”")
    return ModelPackage(
        folder=folder,
        id=fields.one(data, "id", str),
        name=fields.one(data, "name", str),
        version=fields.one(data, "version", str),
        licence=fields.one(data, "licence", str),
        attribution=fields.texts(data, "attribution"),
        sample_rate=fields.one(data, "sample_rate", int, lambda v: v == SAMPLE_RATE),
        fps=float(
            fields.one(data, "fps", (int, float), lambda v: 1 <= v <= 240 and (official or _is_whole(v * per_frame)))
        ),
        normalise=fields.one(data, "normalise", str, lambda v: v in ("none", "unit-variance")),
        topology=topology,
        output_kind=kind,
        output_names=names,
        styles=styles,
        default_style=fields.one(data, "default_style", str, lambda v: v in styles),
        period=fields.one(decoder, "period", int, lambda v: 1 <= v <= 1000),
        heads=fields.one(decoder, "heads", int, lambda v: v in (1, 2, 4, 8, 16)),
        memory_per_frame=per_frame,
        lip_vertices=tuple(lips),
        closure=closure,
        steadiness=steadiness,
        files=dict(files),
        encoder_kind=encoder_kind,
        kernels=kernels,
        strides=strides,
        encoder_longest=fields.longest(encoder),
        decoder_longest=fields.longest(decoder),
    )


def _closure(table: Any, names: tuple[str, ...], styles: tuple[str, ...], vertices: int) -> Closure | None:
    """The optional table "closure" of a package that drives `names` in `styles`; None when it does not fit."""
    try:
        rest, wide = table.get("between", Closure.between)
        closure = Closure(
            signal=tuple(table["signal"]),
            begins=float(table["begins"]),
            certain=float(table["certain"]),
            pairs=tuple((upper, lower) for upper, lower in table["pairs"]),
            neutral=float(table["neutral"]),
            shut=float(table["shut"]),
            narrow=float(table.get("narrow", Closure.narrow)),
            between=(float(rest), float(wide)),
            spared=tuple(table.get("spared", Closure.spared)),
        )
        fits = (
            closure.signal
            and {CLOSING_SHAPE, *closure.signal} <= set(names)
            and 0 <= closure.begins < closure.certain <= 1
            and 0 < len(closure.pairs) <= 64
            and all(type(i) is int and 0 <= i < vertices for pair in closure.pairs for i in pair)
            and all(abs(gap) < 0.1 for gap in (closure.neutral, closure.shut))
            and 0 <= closure.narrow < 1
            and set(closure.spared) <= set(styles)
            and 0 <= closure.between[0] < closure.between[1] <= 0.1
        )
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError):
        return None
    return closure if fits else None


def _writable_text(value: object) -> bool:
    """Whether it is a text, and one that can be encoded: Blender stumbles over half of a surrogate pair."""
    try:
        return isinstance(value, str) and value.encode() is not None
    except UnicodeEncodeError:
        return False


def _steadiness(table: Any) -> Steadiness | None:
    """The optional table "steadiness" of a package with closures; None when it does not fit."""
    try:
        steadiness = Steadiness(**{name: float(table[name]) for name in ("still", "moving", "around", "smoothing")})
        fits = 0 <= steadiness.still < steadiness.moving <= 0.1 and 0 < steadiness.around <= 1
        fits = fits and 0 < steadiness.smoothing <= 1
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    return steadiness if fits else None
