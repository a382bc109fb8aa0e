# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever is wrong: one plain sentence, and nothing in the file is changed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import bpy
import numpy as np
import pytest
import soundfile
from heads import _made_up, add_key, add_mesh, add_object, arkit_puppet, evaluated, fingerprint, made_up_head, rest
from wav2sem_lipsync.inference import AudioError, ModelError
from wav2sem_lipsync.operators import (
    animation,
    audio_source,
    copy_report,
    destinations,
    model_list,
    scene_task,
    shape_keys,
    sound,
)


def refused(pattern: str) -> str:
    """Generate, which must fail with a sentence that matches `pattern` and change nothing; returns the sentence."""
    before = fingerprint()
    with pytest.raises(RuntimeError, match=pattern) as caught:
        bpy.ops.wav2sem.generate_lipsync()
    assert fingerprint() == before
    sentence = str(caught.value).strip().removeprefix("Error: ")
    assert sentence.endswith(".")
    assert "\n" not in sentence
    assert "Traceback" not in sentence
    return sentence


# ---- speech --------------------------------------------------------------------------------------------------------


def write(path: Path, samples: Any, rate: int = 16000, **options: Any) -> Path:
    soundfile.write(path, np.asarray(samples, np.float32), rate, **options)
    return path


def empty(folder: Path) -> Path:
    (folder / "empty.wav").touch()
    return folder / "empty.wav"


def text(folder: Path) -> Path:
    (folder / "text.wav").write_text("This is no sound. " * 100)
    return folder / "text.wav"


def truncated(folder: Path) -> Path:
    whole = write(folder / "whole.flac", np.random.default_rng(0).normal(size=48000) * 0.1)
    (folder / "part.flac").write_bytes(whole.read_bytes()[:20000])
    return folder / "part.flac"


def no_samples(folder: Path) -> Path:
    return write(folder / "none.wav", np.zeros(0))


def ten_milliseconds(folder: Path) -> Path:
    return write(folder / "short.wav", np.zeros(160))


def not_numbers(folder: Path) -> Path:
    return write(folder / "nan.wav", np.full(16000, np.nan), subtype="FLOAT")


def infinite(folder: Path) -> Path:
    return write(folder / "inf.wav", np.full(16000, np.inf), subtype="FLOAT")


BAD_SPEECH = (empty, text, truncated, no_samples, ten_milliseconds, not_numbers, infinite)


@pytest.mark.parametrize("make", BAD_SPEECH, ids=lambda make: make.__name__)
def test_bad_speech(make: Callable[[Path], Path], settings: Any, tmp_path: Path) -> None:
    made_up_head()
    settings.audio_path = str(make(tmp_path))
    sentence = refused("export the speech|at least")
    assert bpy.context.window_manager.wav2sem_job.message == sentence
    assert bpy.context.window_manager.wav2sem_job.level == "ERROR"


def test_missing_speech(settings: Any) -> None:
    made_up_head()
    settings.audio_path = "//nowhere.wav"
    refused("no sound file at")


def test_no_speech(settings: Any) -> None:
    made_up_head()
    settings.audio_path = ""
    refused("No speech is chosen")


def test_no_strip(settings: Any) -> None:
    made_up_head()
    settings.source = "STRIP"
    refused("select a sound strip")


def test_no_sound(settings: Any) -> None:
    made_up_head()
    settings.source = "SOUND"
    refused("choose a sound")


@pytest.mark.parametrize(("rate", "channels"), [(8000, 1), (192000, 8)])
def test_unusual_but_good_speech(rate: int, channels: int, settings: Any, tmp_path: Path) -> None:
    made_up_head()
    samples = np.random.default_rng(0).normal(size=(rate, channels)) * 0.1
    settings.audio_path = str(write(tmp_path / "odd.wav", samples, rate))
    assert bpy.ops.wav2sem.generate_lipsync() == {"FINISHED"}


# ---- meshes --------------------------------------------------------------------------------------------------------


def test_no_mesh(settings: Any) -> None:
    refused("No mesh is chosen")


def test_object_that_is_no_mesh(settings: Any) -> None:
    add_object("Empty", None)
    refused("is not a mesh")


def test_chosen_head_that_was_deleted_from_the_scene(settings: Any) -> None:
    settings.target = made_up_head("Gone")
    bpy.context.scene.collection.objects.unlink(settings.target)
    refused("not in the scene")


def test_a_head_whose_basis_was_deleted(settings: Any) -> None:
    """The next shape key takes its place, has no effect any more, and another of its name cannot be made."""
    head = made_up_head()
    assert bpy.ops.wav2sem.generate_lipsync() == {"FINISHED"}
    blocks = head.data.shape_keys.key_blocks
    head.shape_key_remove(blocks["Basis"])
    refused(
        f"“{blocks[0].name}” is the first of the shape keys of “Head” and moves nothing there; move the basis above"
    )


@pytest.mark.parametrize("count", [5022, 5024, 1])
def test_wrong_vertex_count(count: int, settings: Any) -> None:
    add_mesh("Head", np.random.default_rng(0).normal(size=(count, 3)), np.zeros((0, 3)))
    refused(f"{count} vertices")


def test_empty_mesh(settings: Any) -> None:
    add_mesh("Head", np.zeros((0, 3)), np.zeros((0, 3)))
    refused("no vertices")


def test_vertices_in_another_order(settings: Any) -> None:
    vertices, faces = _made_up()
    order = np.random.default_rng(0).permutation(len(vertices))
    add_mesh("Head", vertices[order], np.argsort(order)[faces])
    refused("another order")


def test_edit_mode(settings: Any) -> None:
    made_up_head()
    bpy.ops.object.mode_set(mode="EDIT")
    try:
        refused("leave Edit Mode")
    finally:
        bpy.ops.object.mode_set(mode="OBJECT")


def test_linked_mesh(settings: Any, tmp_path: Path) -> None:
    library = tmp_path / "library.blend"
    bpy.data.libraries.write(str(library), {made_up_head("Linked")})
    bpy.data.objects.remove(bpy.data.objects["Linked"])
    with bpy.data.libraries.load(str(library), link=True) as (_, wanted):
        wanted.objects = ["Linked"]
    bpy.context.scene.collection.objects.link(bpy.data.objects["Linked"])
    settings.target = bpy.data.objects["Linked"]
    refused("linked from another file")


def test_absolute_shape_keys(settings: Any) -> None:
    puppet = arkit_puppet(["jawOpen"])
    puppet.data.shape_keys.use_relative = False
    refused("absolute shape keys")


def test_mesh_with_other_shape_keys_only(settings: Any) -> None:
    arkit_puppet(["smirk", "wink"])
    refused("8 vertices")


def test_every_key_has_a_driver(settings: Any) -> None:
    puppet = arkit_puppet(["jawOpen", "mouthClose"])
    for name in ("jawOpen", "mouthClose"):
        puppet.data.shape_keys.key_blocks[name].driver_add("value")
    refused("has a driver")


# ---- models --------------------------------------------------------------------------------------------------------


def test_damaged_model(settings: Any, toy_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    from wav2sem_lipsync.inference import ModelPackage

    package = replace(ModelPackage.read(toy_folder), folder=tmp_path)
    monkeypatch.setattr(model_list, "packages", lambda context: [package])
    made_up_head()
    refused("model")


def test_no_model(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_list, "packages", lambda context: [])
    made_up_head()
    refused("no speech model")


def test_a_model_of_another_machine_is_missed_and_never_replaced(settings: Any, toy_folder: Path) -> None:
    settings.model_id = "studio_model_v2"  # as a file that was saved there says
    head = made_up_head()
    refused("The model “studio_model_v2” is not on this machine")
    assert settings.model == "studio_model_v2" and settings.style == ""
    assert "studio_model_v2” is not on this machine" in copy_report.report(bpy.context)
    assert bpy.ops.wav2sem.queue_add() == {"FINISHED"}
    assert not bpy.ops.wav2sem.generate_all.poll()
    with pytest.raises(ModelError, match="studio_model_v2"):
        scene_task.task_from_settings(bpy.context)
    (shown, *_), (missing, words, _) = model_list.model_items(settings, bpy.context)
    assert missing == "studio_model_v2" and "missing" in words
    settings.model = shown
    assert bpy.ops.wav2sem.generate_lipsync() == {"FINISHED"}
    assert abs(evaluated(head, 20) - rest(head)).max() > 1e-4
    assert len(model_list.model_items(settings, bpy.context)) == 1 and settings.style == "neutral"


# ---- all or nothing ------------------------------------------------------------------------------------------------


def broken(*_: Any, **__: Any) -> None:
    raise AudioError("The sequencer is on fire.")


BREAKS = [
    (module, step, into, before)
    for module, step in (
        (sound, "play_in_sync"),
        (sound, "place"),
        (shape_keys, "add_keys"),
        (animation, "pack"),  # the last thing that happens when keys are written
        (destinations, "_assign"),
    )
    for into in ("ACTION", "NLA", "SLOT")
    for before in ("nothing", "keys", "baked action", "baked strip", "action")
    # Roads on which no action is assigned, or no key has to be made.
    if not (step == "_assign" and (before == "action" or (into == "NLA" and before != "baked action")))
    and not (step == "_assign" and into == "SLOT" and before == "baked action")
    and not (step == "add_keys" and before.startswith("baked"))
]


@pytest.mark.parametrize(
    ("module", "step", "into", "before"), BREAKS, ids=["-".join((step, *rest)) for _, step, *rest in BREAKS]
)
def test_a_step_that_fails_leaves_nothing_behind(
    module: Any, step: str, into: str, before: str, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = made_up_head()
    if before.startswith("baked"):
        settings.destination = "NLA" if before == "baked strip" else "ACTION"
        bpy.ops.wav2sem.generate_lipsync()
    settings.destination = into
    if before in ("keys", "action"):
        head.shape_key_add(name="Basis")
        frown = add_key(head, "frown")
        if before == "action":
            frown.keyframe_insert("value", frame=5)
    monkeypatch.setattr(module, step, broken)
    refused("on fire")


def test_sound_in_the_sequencer_is_taken_back(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    made_up_head()
    monkeypatch.setattr(sound, "play_in_sync", broken)
    refused("on fire")
    assert not bpy.data.sounds


def test_shape_keys_without_a_reference_are_taken_back_to_none(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    head = made_up_head()
    monkeypatch.setattr(destinations, "write", broken)
    refused("on fire")
    assert head.data.shape_keys is None


def test_an_unforeseen_error_is_rolled_back_too(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def bug(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError

    made_up_head()
    before = fingerprint()
    monkeypatch.setattr(animation, "pack", bug)
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        bpy.ops.wav2sem.generate_lipsync()
    assert fingerprint() == before


def test_model_errors_are_sentences_too(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise ModelError("The model is tired.")

    made_up_head()
    monkeypatch.setattr(shape_keys, "add_keys", fails)
    refused("tired")


def test_a_sound_whose_name_is_no_text_is_told_and_not_baked() -> None:
    with pytest.raises(AudioError, match="rename it"):
        audio_source.from_file("b\udcff.wav")
