# SPDX-License-Identifier: GPL-3.0-or-later
"""The worker thread: progress, cancel in the middle, and the operator's modal loop, which a window would drive."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import bpy
import pytest
from heads import evaluated, fingerprint, made_up_head, rest
from wav2sem_lipsync.inference import AudioError, Cancelled, MeshError
from wav2sem_lipsync.operators import bake, run
from wav2sem_lipsync.operators.generate_lipsync import LIPSYNC_OT_generate
from wav2sem_lipsync.operators.job import Job
from wav2sem_lipsync.operators.readiness import disabled_reason
from wav2sem_lipsync.operators.run import Item
from wav2sem_lipsync.operators.run_operator import RunOperator
from wav2sem_lipsync.operators.scene_task import task_from_settings

TIMER = SimpleNamespace(type="TIMER", value="NOTHING")
ESC = SimpleNamespace(type="ESC", value="PRESS")
MOUSE = SimpleNamespace(type="MOUSEMOVE", value="NOTHING")


@pytest.fixture(autouse=True)
def no_run_left() -> Iterator[None]:
    yield
    run.finish()


class Button(RunOperator):
    """The operator as a window drives it: its own methods on a plain object, since background Blender runs no modal."""

    def __init__(self, work: Callable[..., Any] | None = None) -> None:
        self.reports: list[tuple[set[str], str]] = []
        self._work = work
        self._begin(bpy.context)
        assert not self._run.advance(), "it is prepared"

    def items(self, context: bpy.types.Context) -> list[Item]:
        (item,) = LIPSYNC_OT_generate.items(SimpleNamespace(), context)
        if self._work is None:
            return [item]
        task = SimpleNamespace(compute=self._work)
        return [Item(item.label, lambda: task)]

    def report(self, level: set[str], message: str) -> None:
        self.reports.append((level, message))

    def until_done(self) -> set[str]:
        until = time.monotonic() + 30
        while time.monotonic() < until:
            result = self.modal(bpy.context, TIMER)
            if result & {"FINISHED", "CANCELLED"}:
                return result
            time.sleep(0.005)
        raise AssertionError("the run did not end")


def wait_for_the_worker(button: Button) -> None:
    button.modal(bpy.context, TIMER)
    for thread in threading.enumerate():
        if thread.name == "lip sync":
            thread.join(30)


def state() -> Any:
    return bpy.context.window_manager.wav2sem_job


def test_a_scene_that_is_renamed_meanwhile_is_still_found(settings: Any) -> None:
    head, scene = made_up_head(), bpy.context.scene
    button = Button()
    scene.name = "Shot 12"
    assert button.until_done() == {"FINISHED"}
    assert state().level == "INFO", state().message
    assert abs(evaluated(head, 20) - rest(head)).max() > 1e-4


def test_a_scene_that_is_deleted_meanwhile_is_told(settings: Any) -> None:
    made_up_head()
    other = bpy.data.scenes.new("Other")
    button, old = Button(), bpy.context.scene
    bpy.context.window.scene = other
    bpy.data.scenes.remove(old)
    button.until_done()
    assert "The scene of “Head” was deleted" in state().message


def test_drop_is_set_back_in_the_scene_that_it_was_chosen_in(settings: Any) -> None:
    """Though the window shows another one by the end, where dropping was chosen for a run to come."""
    made_up_head()
    scene, other = bpy.context.scene, bpy.data.scenes.new("Other")
    settings.hand_edits = other.wav2sem_lipsync.hand_edits = "DROP"
    button = Button()
    bpy.context.window.scene = other
    assert button.until_done() == {"FINISHED"}
    assert scene.wav2sem_lipsync.hand_edits == "KEEP"
    assert other.wav2sem_lipsync.hand_edits == "DROP"


def test_a_scene_that_is_deleted_after_its_head_was_done_keeps_nothing_from_ending(settings: Any) -> None:
    made_up_head()
    other, scene = bpy.data.scenes.new("Other"), bpy.context.scene
    settings.hand_edits = other.wav2sem_lipsync.hand_edits = "DROP"
    button = Button()
    while button._run.items[0].report is None:
        assert button.modal(bpy.context, TIMER) == {"PASS_THROUGH"}
        time.sleep(0.005)
    bpy.context.window.scene = other
    bpy.data.scenes.remove(scene)
    assert button.until_done() == {"FINISHED"}
    assert other.wav2sem_lipsync.hand_edits == "DROP"


def test_why_a_mouth_stays_still_is_looked_for_in_the_scene_of_the_run(settings: Any) -> None:
    head = made_up_head()
    head.hide_viewport = True
    other = bpy.data.scenes.new("Other")
    button = Button()
    bpy.context.window.scene = other
    button.until_done()
    assert {cause.cause for cause in state().causes} == {"hidden"}


def test_modal_run_to_the_end(settings: Any) -> None:
    head = made_up_head()
    button = Button()
    assert button.until_done() == {"FINISHED"}
    assert head.data.shape_keys.animation_data.action
    assert button.reports[0][0] == {"INFO"}
    assert not state().running
    assert run.current() is None


def waits(progress: Callable[[float, str], None], cancelled: Callable[[], bool]) -> None:
    progress(0.4, "Waiting")
    while not cancelled():
        time.sleep(0.002)
    raise Cancelled("Cancelled; nothing was changed.")


@pytest.mark.parametrize("by", ["escape", "button"])
def test_cancel_in_the_middle_changes_nothing(by: str, settings: Any) -> None:
    made_up_head()
    before = fingerprint()
    button = Button(waits)
    while state().stage != "Waiting":
        assert button.modal(bpy.context, TIMER) == {"PASS_THROUGH"}
        time.sleep(0.005)
    assert state().running
    assert state().progress == pytest.approx(0.4)
    assert button.modal(bpy.context, MOUSE) == {"PASS_THROUGH"}, "the interface stays usable"
    if by == "escape":
        button.modal(bpy.context, ESC)
    else:
        assert bpy.ops.wav2sem.cancel_lipsync() == {"FINISHED"}
    assert button.until_done() == {"CANCELLED"}
    assert fingerprint() == before
    assert (state().level, state().message) == ("CANCELLED", "Cancelled; nothing was changed.")
    assert not state().running


def test_cancel_without_a_job_says_why() -> None:
    with pytest.raises(RuntimeError, match="No lip sync is being generated"):
        bpy.ops.wav2sem.cancel_lipsync()


def test_only_one_job_at_a_time(settings: Any) -> None:
    made_up_head()
    button = Button(waits)
    assert "being generated" in disabled_reason(bpy.context)
    with pytest.raises(RuntimeError, match="being generated"):
        bpy.ops.wav2sem.generate_lipsync()
    button.cancel(bpy.context)
    assert disabled_reason(bpy.context) == ""
    assert not state().running


def test_real_computation_stops_when_asked(settings: Any) -> None:
    made_up_head()
    task = task_from_settings(bpy.context)
    stages: list[str] = []
    with pytest.raises(Cancelled):
        task.compute(lambda _, stage: stages.append(stage), lambda: len(stages) >= 2)
    assert stages == ["Reading the speech", "Loading the model"]


def test_progress_rises_and_names_its_stages(settings: Any) -> None:
    made_up_head()
    seen: list[tuple[float, str]] = []
    task_from_settings(bpy.context).compute(lambda *now: seen.append(now), lambda: False)
    fractions = [fraction for fraction, _ in seen]
    assert fractions == sorted(fractions)
    assert fractions[-1] <= 1
    assert len({stage for _, stage in seen}) >= 4


@pytest.mark.parametrize("change", ["deleted", "edited", "edit mode", "key renamed"])
def test_head_that_changed_meanwhile(change: str, settings: Any) -> None:
    head = made_up_head()
    button = Button()
    wait_for_the_worker(button)
    if change == "deleted":
        bpy.data.objects.remove(head)
    elif change == "edited":
        head.data.vertices.add(1)
    elif change == "edit mode":
        bpy.ops.object.mode_set(mode="EDIT")
    else:
        head.shape_key_add(name="Basis")
        head.shape_key_add(name="jawOpen")
    before = fingerprint()
    assert button.until_done() == {"CANCELLED"}
    if change == "edit mode":
        bpy.ops.object.mode_set(mode="OBJECT")
    assert fingerprint() == before
    assert state().level == "ERROR"


def test_head_that_was_renamed_meanwhile_is_found(settings: Any) -> None:
    head = made_up_head()
    button = Button()
    head.name = "Renamed"
    assert button.until_done() == {"FINISHED"}
    assert head.data.shape_keys


def test_an_error_of_the_worker_reaches_the_user(settings: Any) -> None:
    def fails(*_: Any) -> None:
        raise AudioError("The tape is torn.")

    made_up_head()
    button = Button(fails)
    assert button.until_done() == {"CANCELLED"}
    assert button.reports == [({"ERROR"}, "The tape is torn.")]


def test_time_left_counts_from_where_progress_is_steady() -> None:
    step = threading.Event()

    def work(progress: Callable[[float, str], None], cancelled: Callable[[], bool]) -> None:
        for fraction in (0.0, 0.1, 0.2, 0.6):
            progress(fraction, "Working")
            step.wait(5)
            step.clear()

    running = Job(work, steady_from=0.2)
    running.start()
    left = []
    for fraction in (0.0, 0.1, 0.2, 0.6):
        while running.progress != fraction or running.stage != "Working":
            running.poll()
        if fraction == 0.2:
            time.sleep(0.1)
        left.append(running.seconds_left)
        step.set()
    assert left[:3] == [-1.0, -1.0, -1.0]
    assert 0.1 < left[3] < 5


def test_worker_runs_beside_the_main_thread() -> None:
    seen = []
    running = Job(lambda progress, cancelled: seen.append(threading.current_thread()))
    running.start()
    running.join(5)
    assert seen[0] is not threading.main_thread()


def test_unregister_stops_a_running_job(settings: Any) -> None:
    import wav2sem_lipsync

    made_up_head()
    button = Button(waits)
    button.modal(bpy.context, TIMER)
    wav2sem_lipsync.unregister()
    try:
        assert run.current() is None
        assert not any(thread.name == "lip sync" for thread in threading.enumerate())
    finally:
        wav2sem_lipsync.register()


def test_undo_between_writing_and_looking(settings: Any) -> None:
    head = made_up_head()
    bpy.ops.ed.undo_push(message="before")
    before = fingerprint()
    button = Button()
    wait_for_the_worker(button)
    assert button.modal(bpy.context, TIMER) == {"PASS_THROUGH"}
    assert head.data.shape_keys, "it is written"
    bpy.ops.ed.undo_push(message="what the user did next")
    bpy.ops.ed.undo()
    assert fingerprint() == before
    assert button.until_done() == {"FINISHED"}
    assert (state().level, state().message) == (
        "WARNING",
        "The lip sync of “Head” was undone before it could be looked at.",
    )


def test_a_cancel_that_comes_after_the_network_still_changes_nothing(settings: Any) -> None:
    made_up_head()
    before = fingerprint()
    button = Button()
    wait_for_the_worker(button)
    button.modal(bpy.context, ESC)
    assert button.until_done() == {"CANCELLED"}
    assert fingerprint() == before


def test_a_frame_rate_that_changed_meanwhile_is_told_and_nothing_written(settings: Any) -> None:
    made_up_head()
    task = task_from_settings(bpy.context)
    result = task.compute(lambda *_: None, lambda: False)
    bpy.context.scene.render.fps = 60
    before = fingerprint()
    with pytest.raises(MeshError, match="The frame rate of “Scene” changed"):
        bake.write(task, result)
    assert fingerprint() == before
