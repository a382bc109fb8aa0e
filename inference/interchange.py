# SPDX-License-Identifier: GPL-3.0-or-later
"""Face motion for other programs: CSV in the layout of Live Link Face (Unreal Engine), and JSON."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np

from .errors import ModelError
from .motion import FaceMotion
from .places import written_whole

# The order of Live Link Face's columns: ARKit's 52 blendshapes, then turns of head and eyes, which speech has not.
_COLUMNS = (
    "EyeBlinkLeft EyeLookDownLeft EyeLookInLeft EyeLookOutLeft EyeLookUpLeft EyeSquintLeft EyeWideLeft EyeBlinkRight "
    "EyeLookDownRight EyeLookInRight EyeLookOutRight EyeLookUpRight EyeSquintRight EyeWideRight JawForward JawRight "
    "JawLeft JawOpen MouthClose MouthFunnel MouthPucker MouthRight MouthLeft MouthSmileLeft MouthSmileRight "
    "MouthFrownLeft MouthFrownRight MouthDimpleLeft MouthDimpleRight MouthStretchLeft MouthStretchRight MouthRollLower "
    "MouthRollUpper MouthShrugLower MouthShrugUpper MouthPressLeft MouthPressRight MouthLowerDownLeft "
    "MouthLowerDownRight MouthUpperUpLeft MouthUpperUpRight BrowDownLeft BrowDownRight BrowInnerUp BrowOuterUpLeft "
    "BrowOuterUpRight CheekPuff CheekSquintLeft CheekSquintRight NoseSneerLeft NoseSneerRight TongueOut HeadYaw "
    "HeadPitch HeadRoll LeftEyeYaw LeftEyePitch LeftEyeRoll RightEyeYaw RightEyePitch RightEyeRoll"
)
LIVE_LINK_COLUMNS = tuple(_COLUMNS.split(" "))
_BLOCK = 4096  # rows that are laid out at once


def check_kind(kind: str) -> None:
    """Raises ModelError unless a motion of this `kind` can be written for Live Link Face."""
    if kind != "blendshapes":
        raise ModelError("Live Link Face needs blendshapes; show them with --arkit, or write .npz.")


def write_live_link_csv(motion: FaceMotion, path: str | Path) -> None:
    """Write one row per frame: Timecode (HH:MM:SS:FF.mmm, as the app does), BlendshapeCount and 61 values.

    A column for both sides at once (BrowInnerUp, CheekPuff) takes the mean of left and right. Shapes outside ARKit's 52
    are left out. Raises ModelError when `motion` is not in blendshapes, OSError when the place cannot be written; the
    file appears whole or not at all.
    """
    check_kind(motion.kind)
    place = {name.lower(): column for column, name in enumerate(motion.names)}
    found: dict[int, list[int]] = {}
    for column, name in enumerate(LIVE_LINK_COLUMNS):
        whole, sides = name.lower(), [f"{name.lower()}{side}" for side in ("left", "right")]
        sources = [place[source] for source in ([whole] if whole in place else sides) if source in place]
        if sources:
            found[column] = sources
    times = motion.times
    with written_whole(Path(path)) as beside, beside.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["Timecode", "BlendshapeCount", *LIVE_LINK_COLUMNS])
        for first in range(0, len(times), _BLOCK):
            weights = motion.weights[first : first + _BLOCK]
            values = np.zeros((len(weights), len(LIVE_LINK_COLUMNS)))
            for column, sources in found.items():
                values[:, column] = weights[:, sources].mean(axis=1)
            for time, row in zip(times[first:], values, strict=False):
                writer.writerow(
                    [_timecode(time, motion.fps), len(LIVE_LINK_COLUMNS), *(f"{value:.6f}" for value in row)]
                )


def write_json(motion: FaceMotion, path: str | Path) -> None:
    """Write {"fps", "start" (s), "names" (K), "weights" (T lists of K)}; raises OSError, whole or not at all."""
    with written_whole(Path(path)) as beside, beside.open("w", encoding="utf-8") as file:
        head = json.dumps({"fps": motion.fps, "start": motion.start, "names": motion.names})
        file.write(f'{head[:-1]}, "weights": [')
        for number, row in enumerate(motion.weights):  # hours at once would be gigabytes of Python's floats
            file.write(", " * (number > 0) + json.dumps([round(float(value), 6) for value in row]))
        file.write("]}")


def _timecode(time: float, fps: float) -> str:
    """Whole frames at the rounded rate and thousandths of a frame."""
    frame = max(time, 0.0) * fps + 1e-6
    rate = max(1, round(fps))
    whole, part = divmod(frame, 1)
    seconds, frames = divmod(int(whole), rate)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}:{frames:02d}.{int(part * 1000):03d}"
