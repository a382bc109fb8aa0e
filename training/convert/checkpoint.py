# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading PyTorch checkpoints from strangers: nothing in them runs, nothing larger than the file is allocated."""

from __future__ import annotations

import io
import pickle
import pickletools
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from . import ConvertError

LARGEST_FILE = 4 << 30  # bytes; the official files hold 0.4 to 0.9 GB
_WRAPPERS = ("state_dict", "model_state_dict", "model")
_PREFIX = re.compile(r"^(?:module\.|model\.)+")
_WHOLE_NUMBER = re.compile(r"(BIN)?(INT|LONG)[124]?")  # pickle operations
_LEGACY_PICKLES = 4  # magic number, protocol, machine, object; raw storages follow
_PICKLE_LIMIT = 16 << 20  # bytes; the official state dicts' pickles hold 30 kB


def read_checkpoint(path: Path) -> dict[str, np.ndarray]:
    """The state dict of `path` as float32 arrays by name, without wrapper and `module.` prefixes.

    Reads zip and legacy containers, `{"state_dict": …}` and bare dicts, fp16, bf16 and CUDA-tagged tensors, and
    safetensors. Raises ConvertError for anything but tensors, damage, and tensors that claim more than the file holds.
    """
    try:
        size = path.stat().st_size
        if size > LARGEST_FILE:
            raise ConvertError(f"“{path.name}” is larger than any checkpoint of FaceFormer or Wav2Sem.")
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return _arrays(path, load_file(path), size)
        _check_declared_sizes(path, size)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if wanted := re.search(r"GLOBAL ([\w.]+)", str(error)):
            raise ConvertError(
                f"“{path.name}” is not just weights: it asks to run {wanted[1]}; nothing was run, do not trust it."
            ) from error
        raise ConvertError(f"“{path.name}” is damaged or no PyTorch checkpoint; download it again.") from error
    except FileNotFoundError as error:
        raise ConvertError(f"There is no checkpoint at “{path}”; give the path of the downloaded file.") from error
    except ConvertError:
        raise
    except Exception as error:  # torch reports damage with whatever exception its parser stumbles into
        raise ConvertError(f"“{path.name}” is damaged or no PyTorch checkpoint; download it again.") from error
    return _arrays(path, _unwrap(path, loaded), size)


def _check_declared_sizes(path: Path, size: int) -> None:
    """Refuse a container that would make torch allocate more than the file holds.

    A storage is pickled as a persistent id that ends with its number of elements, and the file must hold every one.
    Nothing is executed: the pickle's operations are only listed.
    """
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if sum(member.file_size for member in members) > size:
                raise ConvertError(f"“{path.name}” unpacks to more than it holds; do not trust this file.")
            pickles = [member for member in members if member.filename.endswith("data.pkl")]
            if any(member.file_size > _PICKLE_LIMIT for member in pickles):
                raise ConvertError(f"“{path.name}” is no state dict of weights.")
            streams = [io.BytesIO(archive.read(member)) for member in pickles]
    else:
        with path.open("rb") as file:
            streams = [io.BytesIO(file.read(_PICKLE_LIMIT))] * _LEGACY_PICKLES
    for stream in streams:
        elements = 0
        for operation, argument, _ in pickletools.genops(stream):
            if _WHOLE_NUMBER.fullmatch(operation.name):
                elements = int(argument or 0)
            elif operation.name == "BINPERSID" and elements > size:
                raise ConvertError(f"“{path.name}” declares tensors larger than the file; do not trust it.")
            elif operation.name == "GLOBAL" and "bytearray" in str(argument):  # of any size, and torch lets it pass
                raise ConvertError(f"“{path.name}” is not just weights: it makes a bytearray; do not trust it.")


def _unwrap(path: Path, loaded: Any) -> Mapping[str, torch.Tensor]:
    """The mapping from names to tensors inside the usual wrappers."""
    for _ in range(3):
        inner = next((loaded[key] for key in _WRAPPERS if isinstance(loaded, Mapping) and key in loaded), None)
        if not isinstance(inner, Mapping):
            break
        loaded = inner
    if not isinstance(loaded, Mapping) or not any(isinstance(value, torch.Tensor) for value in loaded.values()):
        raise ConvertError(f"“{path.name}” holds no state dict; give the checkpoint that the authors published.")
    return {str(name): value for name, value in loaded.items() if isinstance(value, torch.Tensor)}


def _arrays(path: Path, tensors: Mapping[str, torch.Tensor], size: int) -> dict[str, np.ndarray]:
    """Float32 arrays by plain names; raises ConvertError for numbers that are not finite."""
    arrays: dict[str, np.ndarray] = {}
    elements = 0  # of all, because many names may stand for one and the same storage
    for name, tensor in tensors.items():
        elements += tensor.numel()
        if (
            tensor.is_meta
            or tensor.layout != torch.strided
            or tensor.numel() * tensor.element_size() > size
            or elements > size
        ):
            raise ConvertError(f"“{path.name}” declares tensors larger than the file; do not trust it.")
        if not tensor.is_floating_point():
            continue
        array = tensor.detach().to(torch.float32).numpy()
        if not np.isfinite(array).all():
            raise ConvertError(f"“{path.name}” holds values in {name} that are no finite numbers; get a whole file.")
        arrays[_PREFIX.sub("", name)] = array
    return arrays
