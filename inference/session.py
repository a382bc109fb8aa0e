# SPDX-License-Identifier: GPL-3.0-or-later
"""onnxruntime, loaded only when a model runs; the one module that knows it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import numpy as np

from .errors import Cancelled, ModelError, RuntimeMissing

# The order is that of "AUTO": what is fastest first.
PROVIDERS = {
    "CUDA": "CUDAExecutionProvider",
    "DIRECTML": "DmlExecutionProvider",
    "COREML": "CoreMLExecutionProvider",
    "CPU": "CPUExecutionProvider",
}
_GLANCE = 0.1  # seconds between two looks at whether a run is still wanted
_RUNTIMES = frozenset(f"onnxruntime{kind}" for kind in ("", "-gpu", "-directml", "-openvino", "-rocm", "-training"))


def _onnxruntime() -> Any:
    try:
        import onnxruntime
    except (ImportError, OSError) as error:
        raise RuntimeMissing(
            f"onnxruntime, which runs the model, cannot be loaded ({error}); reinstall the extension, "
            "and on Windows install the current Microsoft Visual C++ Redistributable."
            + (f" {clash}" if (clash := runtime_clash()) else "")
        ) from error
    return onnxruntime


def installed_runtimes() -> list[str]:
    """Name and version of every onnxruntime package that is installed; none of them is loaded."""
    found = {
        dist.metadata["Name"].lower().replace("_", "-"): f"{dist.metadata['Name']} {dist.version}"
        for dist in distributions()
        if (dist.metadata["Name"] or "").lower().startswith("onnxruntime")
    }
    return sorted(text for name, text in found.items() if name in _RUNTIMES)


def runtime_clash() -> str | None:
    """One sentence when several onnxruntime packages lie over each other, as two extensions may bring them; else None.

    All of them install into one folder, so that files of one replace files of the other.
    """
    clashing = installed_runtimes()
    if len(clashing) < 2:
        return None
    return f"Several extensions bring {' and '.join(clashing)}, which replace each other's files; keep one of them."


def available_providers() -> tuple[str, ...]:
    """Keys of `PROVIDERS` that this machine's onnxruntime offers; raises RuntimeMissing."""
    offered = _onnxruntime().get_available_providers()
    return tuple(key for key, name in PROVIDERS.items() if name in offered)


class Session:
    """A graph on the best device that works: what `provider` asks for, else the CPU.

    provider: a key of `PROVIDERS`, or "AUTO" for the fastest that the machine offers. threads: 0 means one per core.
    `provider` then says where it runs, `note` in one sentence why that is not what was asked for (else None).
    `cancelled` may be set: a run ends soon after it turns true, or after Ctrl-C, however long it would take.
    Raises ModelError when the graph cannot be loaded, RuntimeMissing when onnxruntime cannot.
    """

    def __init__(self, path: Path, provider: str = "CPU", threads: int = 0) -> None:
        self._path, self._threads = path, threads
        self.cancelled: Callable[[], bool] | None = None
        self.note: str | None = None
        offered = available_providers()
        self.provider = (offered[0] if offered else "CPU") if provider == "AUTO" else provider
        if self.provider not in offered and self.provider != "CPU":
            self._fall_back("this onnxruntime does not offer it")
        try:
            self._session = self._create()
        except Exception as error:
            self._recover(error)
        self.note = self.note or runtime_clash()

    @property
    def inputs(self) -> set[str]:
        """Names of the graph's inputs."""
        return {node.name for node in self._session.get_inputs()}

    def run(self, output: str, inputs: dict[str, np.ndarray]) -> np.ndarray:
        """One output of the graph; a device that fails is left for the CPU, once and for all.

        Raises ModelError when that fails, too, and when the output is no array of floats; Cancelled.
        """
        options = _onnxruntime().RunOptions()
        try:
            answer = self._run(output, inputs, options)
        except Exception as error:
            if options.terminate:
                raise Cancelled from error
            self._recover(error)
            return self.run(output, inputs)
        if not isinstance(answer, np.ndarray) or answer.dtype.kind != "f":  # texts, a sequence, nothing
            raise ModelError(f"“{self._path.name}” answers with something other than numbers; get a whole model.")
        return answer

    def _run(self, output: str, inputs: dict[str, np.ndarray], options: Any) -> Any:
        """What the graph answers. It runs on a thread: a stranger's may loop for ever, and nothing else would end it.

        onnxruntime looks at `options` between two nodes; Python hears of Ctrl-C only when it is not inside a call.
        """
        with ThreadPoolExecutor(1) as pool:
            try:
                running = pool.submit(self._session.run, [output], inputs, options)
                while not wait([running], _GLANCE).done:
                    options.terminate |= self.cancelled is not None and self.cancelled()
            except BaseException:
                options.terminate = True
                raise
            return running.result()[0]

    def _recover(self, error: Exception) -> None:
        """Load the graph on the CPU after a device failed; raises ModelError when it was the CPU."""
        if self.provider == "CPU":
            raise self._failed(error) from error
        self._fall_back(_essence(error))
        try:
            self._session = self._create()
        except Exception as again:
            raise self._failed(again) from again

    def _failed(self, error: Exception) -> ModelError:
        return ModelError(
            f"“{self._path.name}” cannot be run ({_essence(error)}); choose another model, or copy its folder again."
        )

    def _fall_back(self, reason: str) -> None:
        self.note = f"The model runs on the CPU because {self.provider} cannot be used ({reason})."
        self.provider = "CPU"

    def _create(self) -> Any:
        onnxruntime = _onnxruntime()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.log_severity_level = 4
        # Windows differ in length: the arena would keep the peak of each shape.
        options.enable_cpu_mem_arena = False
        # Weights in files beside the graph, which no SHA-256 vouches for, are looked for where there are none.
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(self._path))
        wanted = list(dict.fromkeys([PROVIDERS[self.provider], PROVIDERS["CPU"]]))
        session = onnxruntime.InferenceSession(str(self._path), options, providers=wanted)
        # onnxruntime leaves a provider whose libraries are missing without an error.
        if session.get_providers()[0] != wanted[0]:
            self._fall_back("its driver or libraries are missing")
        return session


def _essence(error: Exception) -> str:
    """What onnxruntime says, without codes, places in its sources and further lines."""
    first = next(iter(str(error).splitlines()), type(error).__name__)
    return first.rsplit(" : ", 1)[-1].strip(" .")[:200]
