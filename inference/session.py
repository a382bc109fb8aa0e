# SPDX-License-Identifier: GPL-3.0-or-later
"""onnxruntime, loaded only when a model runs; the one module that knows it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .errors import ModelError, RuntimeMissing

PROVIDERS = {
    "CPU": "CPUExecutionProvider",
    "CUDA": "CUDAExecutionProvider",
    "DIRECTML": "DmlExecutionProvider",
    "COREML": "CoreMLExecutionProvider",
}


def _onnxruntime() -> Any:
    try:
        import onnxruntime
    except (ImportError, OSError) as error:
        raise RuntimeMissing(
            f"onnxruntime, which runs the model, cannot be loaded ({error}); reinstall the extension, "
            "and on Windows install the current Microsoft Visual C++ Redistributable."
        ) from error
    return onnxruntime


def available_providers() -> tuple[str, ...]:
    """Keys of `PROVIDERS` that this machine's onnxruntime offers; raises RuntimeMissing."""
    offered = _onnxruntime().get_available_providers()
    return tuple(key for key, name in PROVIDERS.items() if name in offered)


def create_session(path: Path, provider: str = "CPU", threads: int = 0) -> Any:
    """An InferenceSession for the graph at `path` with CPU as the second choice; 0 threads: one per core.

    Raises ModelError when the graph cannot be loaded, RuntimeMissing when onnxruntime cannot.
    """
    onnxruntime = _onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    # Windows differ in length: the arena would keep the peak of each shape.
    options.enable_cpu_mem_arena = False
    names = list(dict.fromkeys([PROVIDERS[provider], PROVIDERS["CPU"]]))
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=names)
    except Exception as error:
        raise ModelError(f"“{path.name}” cannot be run ({error}); copy the model folder again.") from error
