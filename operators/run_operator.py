# SPDX-License-Identifier: GPL-3.0-or-later
"""What the operators that generate share: a run under a timer; without a window, or called by a script, they block."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import bpy

from ..inference import Cancelled, LipSyncError
from . import fix_mouth, run
from .lipsync_task import find_scene
from .properties import job_state, settings_of, tell
from .run import Item, Run

_TICK = 0.1  # seconds


@dataclass(frozen=True)
class Message:
    """What a run came to: level "INFO", "WARNING", "ERROR" or "CANCELLED", a sentence, and more lines."""

    level: str
    text: str
    details: tuple[str, ...] = ()


class RunOperator:
    """Mixin: an operator that generates lip syncs. A sub-class says which (`items`)."""

    bl_options = {"REGISTER", "UNDO"}

    _run = Run(())
    report: Callable[[set[str], str], None]  # Operator's
    _pushed = 0  # items that have an undo step already
    _scene = 0  # session id of the scene in which it was begun: the window may show another one by the end

    def items(self, context: bpy.types.Context) -> Sequence[Item]:
        """What is to be generated; raises LipSyncError when nothing can be."""
        raise NotImplementedError

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Generate and wait for it."""
        manager = context.window_manager
        manager.progress_begin(0, 100)
        try:
            self._begin(context)
            self._run.through(lambda: manager.progress_update(100 * self._run.progress))
            return self._conclude(context)
        except LipSyncError as error:
            return self._failed(context, error)
        finally:
            manager.progress_end()
            self._stop(context)

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Start; `modal` does the rest."""
        if bpy.app.background:
            return self.execute(context)
        try:
            self._begin(context)
        except LipSyncError as error:
            return self._failed(context, error)
        if self._run.advance():
            return self._conclude(context)
        _start_timer(context)
        context.window_manager.modal_handler_add(self)
        self._show(context)
        return {"RUNNING_MODAL"}

    def modal(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Look after the run; everything but the timer and Esc belongs to the rest of Blender."""
        if run.current() is not self._run:
            return self._failed(context, Cancelled(run.CANCELLED))
        if event.type == "ESC" and event.value == "PRESS":
            self._run.request_stop()
            self._show(context)
            return {"RUNNING_MODAL"}
        if event.type != "TIMER":
            return {"PASS_THROUGH"}
        item = self._run.current
        if item is not None and self._written > self._pushed and self._run.remaining:
            # A step for each head, since the user's own steps may lie between them; the last is Blender's own.
            bpy.ops.ed.undo_push(message=f"Lip Sync of {item.label}")
            self._pushed = self._written
        elif self._run.advance():
            return self._conclude(context)
        self._show(context)
        return {"PASS_THROUGH"}

    def cancel(self, context: bpy.types.Context) -> None:
        """Blender closes the window or opens another file."""
        self._stop(context)

    @property
    def _written(self) -> int:
        return sum(item.report is not None for item in self._run.items)

    def _begin(self, context: bpy.types.Context) -> None:
        self._run, self._scene = run.start(self.items(context)), context.scene.session_uid

    def _conclude(self, context: bpy.types.Context) -> set[str]:
        self._stop(context)
        self._tell(context, summary(self._run.items))
        scene = find_scene(self._scene)
        self._judge(context, scene)
        if self._written and scene is not None:
            settings_of(scene).hand_edits = "KEEP"  # dropping is meant for one run
        return {"FINISHED"} if self._written > self._pushed else {"CANCELLED"}

    def _failed(self, context: bpy.types.Context, error: LipSyncError) -> set[str]:
        self._stop(context)
        self._tell(context, _message(error))
        return {"CANCELLED"}

    def _judge(self, context: bpy.types.Context, scene: bpy.types.Scene | None) -> None:
        """Remember how fast it went, and what keeps a mouth in `scene` from moving."""
        state = job_state(context)
        reports = [item.report for item in self._run.items if item.report is not None]
        seconds = sum(report.compute_seconds for report in reports)
        if seconds > 0:
            state.speed = sum(report.speech_seconds for report in reports) / seconds
        fix_mouth.forget(state)
        still = next((report.object for report in reports if not report.moves), "")
        if scene is not None and still in bpy.data.objects:
            fix_mouth.look(context, scene, bpy.data.objects[still])

    def _tell(self, context: bpy.types.Context, message: Message) -> None:
        tell(context, message.level, message.text, "\n".join(message.details))
        self.report({"INFO" if message.level == "CANCELLED" else message.level}, message.text)

    def _show(self, context: bpy.types.Context) -> None:
        """Copy the run's state to where the panels and the status bar see it."""
        state, running = job_state(context), run.current()
        state.running = running is not None
        state.item = ""
        if running is not None:
            state.progress, state.seconds_left, state.stage = running.progress, running.seconds_left, running.stage
            state.item = running.current.key if running.current else ""
            context.workspace.status_text_set(f"Lip sync: {state.stage} ({state.progress:.0%}).  Esc: cancel")
        for area in context.screen.areas if context.screen else ():
            if area.type == "VIEW_3D":
                area.tag_redraw()

    def _stop(self, context: bpy.types.Context) -> None:
        """Take away timer, worker and status text; to be called as often as one likes."""
        if run.current() is self._run:
            run.finish()
        if run.current() is None:
            _end_timer(context)
        self._show(context)


_timer: bpy.types.Timer | None = None  # of the run that goes on


def _start_timer(context: bpy.types.Context) -> None:
    global _timer
    _end_timer(context)
    _timer = context.window_manager.event_timer_add(_TICK, window=context.window)


def _end_timer(context: bpy.types.Context) -> None:
    global _timer
    if _timer is not None:
        context.window_manager.event_timer_remove(_timer)
        _timer = None
        if context.workspace:
            context.workspace.status_text_set(None)


def register() -> None:
    """Nothing runs yet."""


def unregister() -> None:
    """End a run that goes on: its operator goes with the extension, and nobody else would tidy up after it."""
    run.finish()
    _end_timer(bpy.context)
    job_state(bpy.context).running = False


def summary(items: Sequence[Item]) -> Message:
    """What a run came to, for one item in its own words."""
    if len(items) == 1:
        (item,) = items
        if item.report is not None:
            return Message("INFO" if item.report.moves else "WARNING", item.report.sentence, item.report.notes)
        return _message(item.error or Cancelled(run.CANCELLED))
    made = [item for item in items if item.report is not None]
    done = [item for item in made if not item.undone()]
    failed = [item for item in items if item.error is not None and not item.cancelled]
    undone, waiting = len(made) - len(done), len(items) - len(made) - len(failed)
    still = [item for item in done if item.report is not None and not item.report.moves]
    details = [f"{item.label}: {item.error}" for item in failed]
    details += [f"{item.label}: {item.report.sentence}" for item in still if item.report is not None]
    text = f"{len(done)} of {len(items)} heads speak"
    text += f", {len(failed)} failed" if failed else ""
    text += f", {undone} undone" if undone else ""
    text += f"; cancelled, {waiting} left as they were." if waiting else "."
    level = "CANCELLED" if waiting else "INFO"
    if failed or still:
        level = "WARNING" if done else "ERROR"
    return Message(level, text, tuple(details))


def _message(error: LipSyncError) -> Message:
    return Message("CANCELLED" if isinstance(error, Cancelled) else "ERROR", str(error))
