# SPDX-License-Identifier: GPL-3.0-or-later
"""The button: the network runs on a thread under a timer; without a window, or called by a script, it blocks."""

from __future__ import annotations

import bpy

from ..inference import Cancelled, LipSyncError
from . import audio_source, bake, ids, job, lipsync_task, model_list
from .lipsync_task import Options, Result, Task
from .preferences import device
from .properties import job_state, settings_of
from .readiness import disabled_reason, target_object

_TICK = 0.1  # seconds


class LIPSYNC_OT_generate(bpy.types.Operator):
    """Turn the speech into shape-key animation of the head"""

    bl_idname = ids.GENERATE
    bl_label = "Generate Lip Sync"
    bl_options = {"REGISTER", "UNDO"}

    _task: Task
    _timer: bpy.types.Timer | None = None

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        reason = disabled_reason(context)
        if reason:
            cls.poll_message_set(reason)
        return not reason

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Generate and wait for it."""
        window_manager = context.window_manager
        window_manager.progress_begin(0, 100)
        try:
            task = task_from_settings(context)
            result = task.compute(lambda part, _: window_manager.progress_update(100 * part), lambda: False)
            return self._write(context, task, result)
        except LipSyncError as error:
            return self._failed(context, error)
        finally:
            window_manager.progress_end()

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Start the worker; `modal` does the rest."""
        if bpy.app.background:
            return self.execute(context)
        try:
            self._task = task_from_settings(context)
        except LipSyncError as error:
            return self._failed(context, error)
        job.start(self._task.compute, lipsync_task.LOADING)
        self._timer = context.window_manager.event_timer_add(_TICK, window=context.window)
        context.window_manager.modal_handler_add(self)
        self._show(context)
        return {"RUNNING_MODAL"}

    def modal(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Look after the job; everything but the timer and Esc belongs to the rest of Blender."""
        running = job.current()
        if running is None:
            return self._failed(context, Cancelled("Cancelled; nothing was changed."))
        if event.type == "ESC" and event.value == "PRESS":
            running.request_stop()
            self._show(context)
            return {"RUNNING_MODAL"}
        if event.type != "TIMER":
            return {"PASS_THROUGH"}
        ended = running.poll()
        self._show(context)
        if not ended:
            return {"PASS_THROUGH"}
        self._stop(context)
        try:
            return self._write(context, self._task, running.result())
        except LipSyncError as error:
            return self._failed(context, error)

    def cancel(self, context: bpy.types.Context) -> None:
        """Blender closes the window or opens another file."""
        self._stop(context)

    def _write(self, context: bpy.types.Context, task: Task, result: Result) -> set[str]:
        report = bake.write(task, result)
        self._tell(context, "INFO" if report.moves else "WARNING", report.sentence, report.notes)
        return {"FINISHED"}

    def _failed(self, context: bpy.types.Context, error: LipSyncError) -> set[str]:
        self._stop(context)
        self._tell(context, "CANCELLED" if isinstance(error, Cancelled) else "ERROR", str(error))
        return {"CANCELLED"}

    def _tell(self, context: bpy.types.Context, level: str, message: str, details: tuple[str, ...] = ()) -> None:
        state = job_state(context)
        state.level, state.message, state.details = level, message, "\n".join(details)
        self.report({"INFO" if level == "CANCELLED" else level}, message)

    def _show(self, context: bpy.types.Context) -> None:
        """Copy the job's state to where the panel and the status bar see it."""
        state, running = job_state(context), job.current()
        state.running = running is not None
        if running is not None:
            state.progress, state.seconds_left = running.progress, running.seconds_left
            state.stage = "Cancelling" if running.stopping else running.stage
            context.workspace.status_text_set(f"Lip sync: {state.stage} ({state.progress:.0%}).  Esc: cancel")
        for area in context.screen.areas if context.screen else ():
            if area.type == "VIEW_3D":
                area.tag_redraw()

    def _stop(self, context: bpy.types.Context) -> None:
        """Take away timer, worker and status text; to be called as often as one likes."""
        if self._timer is not None:
            context.window_manager.event_timer_remove(self._timer)
            self._timer = None
            if context.workspace:
                context.workspace.status_text_set(None)
        job.finish()
        self._show(context)


def task_from_settings(context: bpy.types.Context) -> Task:
    """The bake that the scene's settings describe; raises LipSyncError."""
    scene = context.scene
    settings = settings_of(scene)
    source = audio_source.from_settings(settings, scene)
    options = Options(
        start_frame=settings.start_frame,
        tolerance=settings.tolerance if settings.keys == "REDUCED" else 0.0,
        destination=settings.destination,
        keep_edits=settings.hand_edits == "KEEP",
        style=model_list.chosen_style(settings),
        device=device(context),
    )
    package = model_list.find(context, settings.model)
    return lipsync_task.prepare(scene, target_object(context), source, package, options)


def register() -> None:
    """Register the operator."""
    bpy.utils.register_class(LIPSYNC_OT_generate)


def unregister() -> None:
    """Stop a running job, then unregister."""
    job.finish()
    bpy.utils.unregister_class(LIPSYNC_OT_generate)
