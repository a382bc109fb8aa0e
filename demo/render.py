# SPDX-License-Identifier: GPL-3.0-or-later
"""Frames by Cycles, and a movie of them with sound by Blender's own encoder."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import bpy
import matplotlib.image
import numpy as np
from bpy_extras.object_utils import world_to_camera_view
from mathutils import Vector
from numpy.typing import NDArray
from tqdm import tqdm

MARGIN = 0.025  # of the picture, around what moves


@contextmanager
def quiet() -> Iterator[None]:
    """Keep Blender's own render log off stdout (tqdm writes to stderr)."""
    sys.stdout.flush()
    kept, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)


def render_frames(scene: bpy.types.Scene, moving: NDArray[np.float32], folder: Path) -> list[Path]:
    """Render every frame of the scene to PNG.

    The first picture is rendered whole; of the others only the rectangle around `moving` (N,3), world space, the
    points that move, since nothing else changes.
    """
    width, height = scene.render.resolution_x, scene.render.resolution_y
    left, right, bottom, top = _rectangle(scene, moving, width, height)
    settings = scene.render
    settings.image_settings.file_format, settings.image_settings.color_mode = "PNG", "RGB"
    settings.image_settings.compression = 10
    frames = list(range(scene.frame_start, scene.frame_end + 1))
    backdrop: NDArray[np.uint8] | None = None
    paths = []
    for frame in tqdm(frames, desc="Rendering", unit="frame", file=sys.stderr):
        scene.frame_set(frame)
        path = folder / f"{frame:05d}.png"
        settings.filepath = str(path)
        settings.use_border = settings.use_crop_to_border = backdrop is not None
        settings.border_min_x, settings.border_max_x = (left + 0.01) / width, (right + 0.01) / width
        settings.border_min_y, settings.border_max_y = (bottom + 0.01) / height, (top + 0.01) / height
        with quiet():
            bpy.ops.render.render(write_still=True, scene=scene.name)
        picture = _read(path)
        if backdrop is None:
            backdrop = picture
        else:
            matplotlib.image.imsave(path, _paste(backdrop, picture, height - top, left))
        paths.append(path)
    settings.use_border = settings.use_crop_to_border = False
    return paths


def _read(path: Path) -> NDArray[np.uint8]:
    """A PNG as bytes (height, width, 3), row 0 on top."""
    return np.round(matplotlib.image.imread(path)[..., :3] * 255).astype(np.uint8)


def _paste(
    backdrop: NDArray[np.uint8], picture: NDArray[np.uint8], row: int, column: int, soft: int = 10
) -> NDArray[np.uint8]:
    """`picture` in `backdrop` at (row, column), faded in over `soft` pixels, because the denoiser sees other edges."""
    high, wide = picture.shape[:2]
    total = backdrop.shape[:2]
    # No fading where the rectangle ends with the picture.
    ends = [(row > 0, row + high < total[0], high), (column > 0, column + wide < total[1], wide)]
    ramps = []
    for before, after, length in ends:
        at = np.arange(length) + 0.5
        ramps.append(np.clip(np.minimum(at if before else np.inf, (length - at) if after else np.inf) / soft, 0, 1))
    share = (ramps[0][:, None] * ramps[1][None])[..., None]
    whole = backdrop.copy()
    behind = whole[row : row + high, column : column + wide]
    behind[:] = np.round(behind * (1 - share) + picture * share).astype(np.uint8)
    return whole


def _rectangle(
    scene: bpy.types.Scene, points: NDArray[np.float32], width: int, height: int
) -> tuple[int, int, int, int]:
    """Pixels (left, right, bottom, top) around the projected points, with a margin."""
    seen = np.array(
        [world_to_camera_view(scene, scene.camera, Vector(p))[:2] for p in points[:: max(1, len(points) // 2000)]]
    )
    low, high = (seen.min(0) - MARGIN).clip(0, 1), (seen.max(0) + MARGIN).clip(0, 1)
    return int(low[0] * width), int(high[0] * width), int(low[1] * height), int(high[1] * height)


def encode(frames: list[Path], speech: Path, scene: bpy.types.Scene, movie: Path) -> None:
    """H.264 and AAC in an MP4, by a scene of its own that holds only the pictures and the sound."""
    edit = bpy.data.scenes.new("Encode")
    edit.render.fps, edit.render.fps_base = scene.render.fps, scene.render.fps_base
    edit.render.resolution_x, edit.render.resolution_y = scene.render.resolution_x, scene.render.resolution_y
    edit.render.resolution_percentage = 100
    edit.frame_start, edit.frame_end = 1, len(frames)
    edit.view_settings.view_transform = "Standard"
    strips = edit.sequence_editor_create().strips
    pictures = strips.new_image(name="frames", filepath=str(frames[0]), channel=1, frame_start=1)
    for path in frames[1:]:
        pictures.elements.append(path.name)
    strips.new_sound(name="speech", filepath=str(speech), channel=2, frame_start=1)
    settings = edit.render
    settings.image_settings.file_format = "FFMPEG"
    settings.ffmpeg.format, settings.ffmpeg.codec, settings.ffmpeg.audio_codec = "MPEG4", "H264", "AAC"
    settings.ffmpeg.constant_rate_factor, settings.ffmpeg.ffmpeg_preset = "HIGH", "GOOD"
    settings.ffmpeg.audio_bitrate = 160
    settings.use_file_extension = False
    settings.filepath = str(movie)
    with quiet():
        bpy.ops.render.render(animation=True, scene=edit.name)
    bpy.data.scenes.remove(edit)
