# SPDX-License-Identifier: GPL-3.0-or-later
"""Several heads, each with its own speech: filling the queue, running it, failures, cancel, undo."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import bpy
import numpy as np
import pytest
import wav2sem_lipsync
from heads import (
    add_mesh,
    add_object,
    arkit_puppet,
    evaluated,
    fingerprint,
    fit_of,
    largest_error,
    made_up_head,
    motion_of,
    rest,
)
from wav2sem_lipsync.operators import bake, run
from wav2sem_lipsync.operators.pairing import paired
from wav2sem_lipsync.operators.queue import LIPSYNC_OT_generate_all
from wav2sem_lipsync.operators.run_operator import RunOperator

TIMER = SimpleNamespace(type="TIMER", value="NOTHING")
ESC = SimpleNamespace(type="ESC", value="PRESS")


@pytest.fixture(autouse=True)
def no_run_left() -> Iterator[None]:
    yield
    run.finish()


@pytest.fixture(scope="module")
def other_speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One and a half seconds of other syllables."""
    import soundfile

    rng = np.random.default_rng(9)
    times = np.arange(24000) / 16000
    path = tmp_path_factory.mktemp("speech") / "other.wav"
    soundfile.write(path, 0.3 * rng.normal(size=24000) * np.abs(np.sin(2 * np.pi * 3 * times)), 16000)
    return path


def queue() -> Any:
    return bpy.context.scene.wav2sem_queue


def state() -> Any:
    return bpy.context.window_manager.wav2sem_job


def select(*heads: bpy.types.Object) -> None:
    for obj in bpy.context.scene.objects:
        obj.select_set(obj in heads)


def strip(path: Path, name: str, frame: int, channel: int = 1) -> Any:
    scene = bpy.context.scene
    editor = scene.sequence_editor or scene.sequence_editor_create()
    made = editor.strips.new_sound(name=name, filepath=str(path), channel=channel, frame_start=frame)
    made.select = True
    return made


def generate_all() -> set[str]:
    return bpy.ops.wav2sem.generate_all("EXEC_DEFAULT", True)


def statuses() -> list[str]:
    return [entry.status for entry in queue().entries]


def test_each_head_says_its_own_speech(settings: Any, toy_folder: Path, speech_file: Path, other_speech: Path) -> None:
    anna, ben = made_up_head("Anna"), made_up_head("Ben")
    select(anna, ben)
    assert bpy.ops.wav2sem.queue_add_selected() == {"FINISHED"}
    queue().entries[1].audio_path = str(other_speech)
    queue().entries[1].start_frame = 21
    assert generate_all() == {"FINISHED"}
    assert statuses() == ["DONE", "DONE"]
    assert largest_error(anna, motion_of(toy_folder, speech_file), fit_of(anna), 1) < 2e-5
    assert largest_error(ben, motion_of(toy_folder, other_speech), fit_of(ben), 21) < 2e-5
    assert state().message == "2 of 2 heads speak."


def test_generate_with_several_heads_selected(settings: Any) -> None:
    anna, ben, chair = made_up_head("Anna"), arkit_puppet(["jawOpen"], "Ben"), add_mesh("Chair", np.eye(3), [[0, 1, 2]])
    select(anna, ben, chair)
    assert bpy.ops.wav2sem.generate_lipsync("EXEC_DEFAULT", True) == {"FINISHED"}
    assert [entry.head for entry in queue().entries] == [anna, ben]
    assert statuses() == ["DONE", "DONE"]
    assert anna.data.shape_keys.animation_data.action
    assert ben.data.shape_keys.animation_data.action
    assert chair.data.shape_keys is None


def test_generate_uses_the_entry_that_a_head_has(
    settings: Any, toy_folder: Path, speech_file: Path, other_speech: Path
) -> None:
    anna, ben = made_up_head("Anna"), made_up_head("Ben")
    select(anna)
    bpy.ops.wav2sem.queue_add_selected()
    queue().entries[0].audio_path = str(other_speech)
    select(anna, ben)
    bpy.ops.wav2sem.generate_lipsync("EXEC_DEFAULT", True)
    assert [entry.speech for entry in queue().entries] == [other_speech.name, speech_file.name]
    assert largest_error(anna, motion_of(toy_folder, other_speech), fit_of(anna), 1) < 2e-5


def test_heads_that_share_a_mesh_are_generated_once(settings: Any, toy_folder: Path, speech_file: Path) -> None:
    anna = made_up_head("Anna")
    select(anna, add_object("Twin", anna.data))
    bpy.ops.wav2sem.generate_lipsync("EXEC_DEFAULT", True)
    assert [entry.head for entry in queue().entries] == [anna]
    assert len(bpy.data.actions) == 1
    assert anna.data.shape_keys.animation_data.action  # and no strip, which nobody asked for
    assert largest_error(anna, motion_of(toy_folder, speech_file), fit_of(anna), 1) < 2e-5


def test_a_chosen_head_is_the_only_one(settings: Any) -> None:
    anna, ben = made_up_head("Anna"), made_up_head("Ben")
    settings.target = ben
    select(anna, ben)
    bpy.ops.wav2sem.generate_lipsync("EXEC_DEFAULT", True)
    assert anna.data.shape_keys is None
    assert ben.data.shape_keys is not None
    assert len(queue().entries) == 0


def test_strips_go_to_the_heads_that_they_are_named_after(settings: Any, speech_file: Path, other_speech: Path) -> None:
    anna, ben = made_up_head("Anna"), made_up_head("Ben")
    strip(other_speech, "ben_line_01", 5)
    strip(speech_file, "anna_line_01", 60)
    select(anna, ben)
    bpy.ops.wav2sem.queue_add_selected()
    assert [(entry.source, entry.speech) for entry in queue().entries] == [
        ("STRIP", "anna_line_01"),
        ("STRIP", "ben_line_01"),
    ]
    generate_all()
    first, _ = ben.data.shape_keys.animation_data.action.frame_range
    assert first == 5


def test_strips_without_names_go_in_order_of_time(settings: Any, speech_file: Path, other_speech: Path) -> None:
    anna, ben = made_up_head("Anna"), made_up_head("Ben")
    strip(other_speech, "b", 80)
    strip(speech_file, "a", 3, channel=2)
    select(anna, ben)
    bpy.ops.wav2sem.queue_add_selected()
    assert [entry.speech for entry in queue().entries] == ["a", "b"]


def test_a_head_without_a_strip_says_the_present_speech(settings: Any, speech_file: Path, other_speech: Path) -> None:
    heads = [made_up_head(name) for name in ("Anna", "Ben", "Cleo")]
    strip(other_speech, "Ben", 5)
    select(*heads)
    bpy.ops.wav2sem.queue_add_selected()
    assert [entry.source for entry in queue().entries] == ["FILE", "STRIP", "FILE"]


@pytest.mark.parametrize(
    ("heads", "speeches", "pairs"),
    [
        (["Anna", "Ben"], ["ben 01", "anna 01"], {0: 1, 1: 0}),
        (["Anna", "Ben"], ["x", "y"], {0: 0, 1: 1}),
        (["Anna", "Ben", "Cleo"], ["cleo", "x"], {2: 0}),
        (["Anna", "Ben", "Cleo"], ["cleo", "x", "y"], {2: 0, 0: 1, 1: 2}),
        (["Anna", "AnnaOld"], ["anna_old_3", "anna_3"], {0: 1, 1: 0}),
        (["Anna"], ["hannah"], {0: 0}),
        (["Anna", "Ben"], ["hannah"], {}),
        ([], ["x"], {}),
        (["Anna"], [], {}),
    ],
)
def test_pairing(heads: list[str], speeches: list[str], pairs: dict[int, int]) -> None:
    assert paired(heads, speeches) == pairs


def test_adding_again_adds_nothing(settings: Any) -> None:
    select(made_up_head("Anna"))
    bpy.ops.wav2sem.queue_add_selected()
    bpy.ops.wav2sem.queue_add_selected()
    assert len(queue().entries) == 1
    bpy.ops.wav2sem.queue_add()
    assert len(queue().entries) == 2, "one by one, a head may have several lines"


def test_two_lines_of_one_head_play_one_after_the_other(settings: Any, other_speech: Path) -> None:
    head = made_up_head("Anna")
    bpy.ops.wav2sem.queue_add()
    bpy.ops.wav2sem.queue_add()
    queue().entries[1].audio_path, queue().entries[1].start_frame = str(other_speech), 200
    generate_all()
    assert statuses() == ["DONE", "DONE"]
    (track,) = head.data.shape_keys.animation_data.nla_tracks
    assert len(track.strips) == 2
    assert [round(strip.frame_start) for strip in track.strips] == [1, 200]


def lines_of(heads: list[bpy.types.Object], line: Path) -> None:
    """The present speech for the first of `heads`, and `line` from frame 200 on for the second."""
    for head in heads:
        bpy.context.view_layer.objects.active = head
        bpy.ops.wav2sem.queue_add()
    queue().entries[1].audio_path, queue().entries[1].start_frame = str(line), 200


def twins() -> list[bpy.types.Object]:
    """Two objects with one mesh."""
    head = made_up_head("Anna")
    return [head, add_object("Ben", head.data)]


def test_lines_of_heads_that_share_a_mesh_are_all_heard(
    settings: Any, toy_folder: Path, speech_file: Path, other_speech: Path
) -> None:
    heads = twins()
    lines_of(heads, other_speech)
    generate_all()
    assert statuses() == ["DONE", "DONE"]
    for head in heads:
        assert largest_error(head, motion_of(toy_folder, speech_file), fit_of(head), 1) < 2e-5
        assert largest_error(head, motion_of(toy_folder, other_speech), fit_of(head), 200) < 2e-5


def test_a_vertex_cache_refuses_two_lines_of_one_head(settings: Any, other_speech: Path, tmp_path: Path) -> None:
    head = made_up_head("Anna")
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "shot.blend"))
    settings.mode = "CACHE"
    bpy.ops.wav2sem.generate_lipsync()
    alone = evaluated(head, 13)
    lines_of([head, head], other_speech)
    with pytest.raises(RuntimeError, match="0 of 2 heads speak, 2 failed"):
        generate_all()
    assert statuses() == ["FAILED", "FAILED"]
    for entry in queue().entries:
        assert "holds one line and “Anna” has several" in entry.sentence
    assert np.abs(alone - rest(head)).max() > 1e-3
    np.testing.assert_array_equal(evaluated(head, 13), alone)


def test_vertex_caches_of_objects_with_one_mesh_hold_a_line_each(
    settings: Any, toy_folder: Path, speech_file: Path, other_speech: Path, tmp_path: Path
) -> None:
    heads = twins()
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "shot.blend"))
    settings.mode = "CACHE"
    lines_of(heads, other_speech)
    generate_all()
    assert statuses() == ["DONE", "DONE"]
    assert largest_error(heads[0], motion_of(toy_folder, speech_file), fit_of(heads[0]), 1) < 2e-5
    assert largest_error(heads[1], motion_of(toy_folder, other_speech), fit_of(heads[1]), 200) < 2e-5


def failing_and_good() -> None:
    for name in ("Anna", "Ben", "Cleo"):
        made_up_head(name)
        bpy.ops.wav2sem.queue_add()
    queue().entries[1].audio_path = "/nowhere.wav"


def test_a_failed_item_does_not_stop_the_rest(settings: Any) -> None:
    failing_and_good()
    assert generate_all() == {"FINISHED"}
    assert statuses() == ["DONE", "FAILED", "DONE"]
    assert "no sound file" in queue().entries[1].sentence
    assert bpy.data.objects["Ben"].data.shape_keys is None
    assert (state().level, state().message) == ("WARNING", "2 of 3 heads speak, 1 failed.")
    assert "Ben: There is no sound file" in state().details


def test_only_what_is_not_done_is_generated(settings: Any, speech_file: Path) -> None:
    failing_and_good()
    generate_all()
    queue().entries[1].audio_path = str(speech_file)
    assert statuses() == ["DONE", "WAITING", "DONE"]
    actions = len(bpy.data.actions)
    generate_all()
    assert statuses() == ["DONE", "DONE", "DONE"]
    assert len(bpy.data.actions) == actions + 1
    generate_all()
    assert len(bpy.data.actions) == actions + 4, "when all are done, all are generated again"


@pytest.mark.parametrize("loss", ["head deleted", "head not in scene", "strip gone", "no head"])
def test_what_was_lost_is_named(loss: str, settings: Any, speech_file: Path) -> None:
    head = made_up_head("Anna")
    placed = strip(speech_file, "Anna", 1)
    select(head)
    bpy.ops.wav2sem.queue_add_selected()
    made_up_head("Ben")
    bpy.ops.wav2sem.queue_add()
    if loss == "head deleted":
        bpy.data.objects.remove(head)
    elif loss == "head not in scene":
        bpy.context.scene.collection.objects.unlink(head)
    elif loss == "strip gone":
        bpy.context.scene.sequence_editor.strips.remove(placed)
    else:
        queue().entries[0].head = None
    generate_all()
    assert statuses() == ["FAILED", "DONE"]
    assert queue().entries[0].sentence.endswith(".")
    assert "; choose" in queue().entries[0].sentence, "the way out, in this entry"


def test_one_undo_step_in_a_script(settings: Any) -> None:
    for name in ("Anna", "Ben"):
        made_up_head(name)
        bpy.ops.wav2sem.queue_add()
    before = fingerprint()
    bpy.ops.ed.undo_push(message="before")
    generate_all()
    assert len(bpy.data.actions) == 2
    bpy.ops.ed.undo()
    assert fingerprint() == before
    assert statuses() == ["WAITING", "WAITING"]


def test_what_nobody_foresaw_fails_one_item_and_no_other(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    failing_and_good()
    queue().entries[1].audio_path = queue().entries[0].audio_path
    write = bake.slices

    def broken(task: Any, result: Any) -> Any:
        if task.target.name == "Ben":
            raise ZeroDivisionError("by nothing")
        return write(task, result)

    monkeypatch.setattr(bake, "slices", broken)
    generate_all()
    assert statuses() == ["DONE", "FAILED", "DONE"]
    assert queue().entries[1].sentence.startswith("This should not happen (ZeroDivisionError: by nothing);")


def test_a_strip_without_sound_is_told(settings: Any) -> None:
    made_up_head("Anna")
    bpy.ops.wav2sem.queue_add()
    scene = bpy.context.scene
    editor = scene.sequence_editor or scene.sequence_editor_create()
    length = {"length": 20} if bpy.app.version >= (5, 0) else {"frame_end": 21}
    colour = editor.strips.new_effect(name="red", type="COLOR", channel=1, frame_start=1, **length)
    queue().entries[0].source, queue().entries[0].strip = "STRIP", colour.name
    with pytest.raises(RuntimeError, match="The strip “red” has no sound; choose a sound strip"):
        generate_all()
    assert statuses() == ["FAILED"]


class Button(RunOperator):
    """Generate All as a window drives it."""

    def __init__(self) -> None:
        self.pushed: list[int] = []
        self._begin(bpy.context)

    def items(self, context: bpy.types.Context) -> Any:
        return LIPSYNC_OT_generate_all.items(SimpleNamespace(), context)

    def report(self, level: set[str], message: str) -> None:
        pass

    def until(self, over: Any) -> set[str]:
        end = time.monotonic() + 60
        while time.monotonic() < end:
            result = self.modal(bpy.context, TIMER)
            if result & {"FINISHED", "CANCELLED"} or over():
                return result
            time.sleep(0.005)
        raise AssertionError("the run did not end")


def test_an_extension_that_is_reloaded_leaves_no_run(settings: Any) -> None:
    made_up_head("Anna")
    bpy.ops.wav2sem.queue_add()
    Button().until(lambda: state().running)
    wav2sem_lipsync.unregister()
    wav2sem_lipsync.register()
    assert run.current() is None and not state().running


def test_a_scene_that_is_renamed_meanwhile_goes_on(settings: Any) -> None:
    for name in ("Anna", "Ben"):
        made_up_head(name)
        bpy.ops.wav2sem.queue_add()
    button = Button()
    button.until(lambda: statuses()[0] == "DONE")
    bpy.context.scene.name = "Shot 2"
    assert button.until(lambda: False) == {"FINISHED"}
    assert statuses() == ["DONE", "DONE"]


def test_cancel_keeps_what_is_done_and_leaves_the_rest_waiting(settings: Any) -> None:
    for name in ("Anna", "Ben", "Cleo"):
        made_up_head(name)
        bpy.ops.wav2sem.queue_add()
    button = Button()
    button.until(lambda: statuses()[0] == "DONE" and run.current().current.label == "Ben")
    assert state().running
    assert state().item == queue().entries[1].key
    button.modal(bpy.context, ESC)
    result = button.until(lambda: False)
    assert result == {"CANCELLED"}, "the undo step of what is done is there already"
    assert statuses() == ["DONE", "WAITING", "WAITING"]
    assert bpy.data.objects["Ben"].data.shape_keys is None
    assert (state().level, state().message) == ("CANCELLED", "1 of 3 heads speak; cancelled, 2 left as they were.")
    assert not state().running


def test_each_head_is_an_undo_step_in_a_window(settings: Any) -> None:
    for name in ("Anna", "Ben", "Cleo"):
        made_up_head(name)
        bpy.ops.wav2sem.queue_add()
    bpy.ops.ed.undo_push(message="before")
    assert Button().until(lambda: False) == {"FINISHED"}
    bpy.ops.ed.undo_push(message="what Blender pushes when the operator has finished")
    speaking = []
    for _ in range(3):
        bpy.ops.ed.undo()
        speaking.append([bool(bpy.data.objects[name].data.shape_keys) for name in ("Anna", "Ben", "Cleo")])
    assert speaking == [[True, True, False], [True, False, False], [False, False, False]]


def test_undo_in_the_middle_does_no_harm(settings: Any) -> None:
    for name in ("Anna", "Ben"):
        made_up_head(name)
        bpy.ops.wav2sem.queue_add()
    bpy.ops.ed.undo_push(message="before")
    button = Button()
    button.until(lambda: statuses()[0] == "DONE" and run.current().current.label == "Ben")
    bpy.ops.ed.undo()
    assert button.until(lambda: False) == {"FINISHED"}
    assert statuses() == ["WAITING", "DONE"]
    assert state().message == "1 of 2 heads speak, 1 undone."
    assert bpy.data.objects["Ben"].data.shape_keys.animation_data.action


def test_progress_and_time_left_are_of_the_whole_run(settings: Any) -> None:
    for name in ("Anna", "Ben"):
        made_up_head(name)
        bpy.ops.wav2sem.queue_add()
    seen, stages = [], []

    def watch() -> bool:
        seen.append(state().progress)
        stages.append(state().stage)
        return False

    Button().until(watch)
    assert seen == sorted(seen)
    assert max(seen) > 0.5
    assert any(stage.startswith("Anna (1 of 2): ") for stage in stages)
    assert any(stage.startswith("Ben (2 of 2): ") for stage in stages)


def test_editing_the_list(settings: Any) -> None:
    for name in ("Anna", "Ben", "Cleo"):
        made_up_head(name)
        bpy.ops.wav2sem.queue_add()
    queue().active = 2
    bpy.ops.wav2sem.queue_move(direction="UP")
    assert [entry.head.name for entry in queue().entries] == ["Anna", "Cleo", "Ben"]
    assert queue().active == 1
    bpy.ops.wav2sem.queue_remove()
    assert [entry.head.name for entry in queue().entries] == ["Anna", "Ben"]
    queue().active = 0
    assert bpy.ops.wav2sem.queue_move(direction="UP") == {"CANCELLED"}
    bpy.ops.wav2sem.queue_clear()
    assert len(queue().entries) == 0


@pytest.mark.parametrize(
    ("button", "reason"),
    [
        ("generate_all", "The queue is empty"),
        ("queue_remove", "The queue is empty"),
        ("queue_add", "No mesh is chosen"),
        ("queue_add_selected", "No head is selected"),
    ],
)
def test_grey_buttons_say_why(button: str, reason: str) -> None:
    with pytest.raises(RuntimeError, match=reason):
        getattr(bpy.ops.wav2sem, button)()


def test_the_queue_cannot_be_changed_while_it_runs(settings: Any) -> None:
    made_up_head("Anna")
    bpy.ops.wav2sem.queue_add()
    Button()
    with pytest.raises(RuntimeError, match="running"):
        bpy.ops.wav2sem.queue_clear()


def test_queue_is_saved_with_the_file(settings: Any, tmp_path: Path, speech_file: Path) -> None:
    made_up_head("Anna")
    settings.style = "broad"
    bpy.ops.wav2sem.queue_add()
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "saved.blend"))
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "saved.blend"))
    (entry,) = queue().entries
    assert (entry.head.name, entry.style, entry.audio_path) == ("Anna", "broad", str(speech_file))
    generate_all()
    assert statuses() == ["DONE"]
