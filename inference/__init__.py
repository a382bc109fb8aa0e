# SPDX-License-Identifier: GPL-3.0-or-later
"""Speech to face motion in numpy and onnxruntime, without Blender: `read_speech` → `LipSyncModel` → `make_curves`."""

from .arkit import ArkitView, arkit_view, blendshape_names
from .curves import CurveSet, make_curves
from .errors import AudioError, CacheError, Cancelled, LipSyncError, MeshError, ModelError, OutputError, RuntimeMissing
from .flame import FlameTopology, MeshFit, arkit_basis
from .lipsync_model import EMBEDDED_MODEL, LipSyncModel
from .model_package import ModelPackage, list_packages
from .motion import FaceMotion, write_motion
from .point_cache import PointCache, write_cache
from .principal import PrincipalView, principal_view
from .session import available_providers, installed_runtimes
from .speech import Speech, read_speech

__all__ = [
    "EMBEDDED_MODEL",
    "ArkitView",
    "AudioError",
    "CacheError",
    "Cancelled",
    "CurveSet",
    "FaceMotion",
    "FlameTopology",
    "LipSyncError",
    "LipSyncModel",
    "MeshError",
    "MeshFit",
    "ModelError",
    "ModelPackage",
    "OutputError",
    "PointCache",
    "PrincipalView",
    "RuntimeMissing",
    "Speech",
    "arkit_basis",
    "arkit_view",
    "available_providers",
    "blendshape_names",
    "installed_runtimes",
    "list_packages",
    "make_curves",
    "principal_view",
    "read_speech",
    "write_cache",
    "write_motion",
]
