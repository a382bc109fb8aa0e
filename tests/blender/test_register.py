# SPDX-License-Identifier: GPL-3.0-or-later
"""Enabling and disabling, twice, leaves nothing behind; the panels draw in every state."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import bpy
import pytest
import wav2sem_lipsync
from heads import add_key, add_object, arkit_puppet, fingerprint, made_up_head
from wav2sem_lipsync.operators import readiness, target_check
from wav2sem_lipsync.panels.bake_panel import LIPSYNC_PT_bake
from wav2sem_lipsync.panels.info_panel import LIPSYNC_PT_info
from wav2sem_lipsync.panels.layout import wrapped
from wav2sem_lipsync.panels.life_panel import LIPSYNC_PT_life
from wav2sem_lipsync.panels.queue_panel import LIPSYNC_PT_queue
from wav2sem_lipsync.panels.speech_panel import LIPSYNC_PT_speech

# Without a window Blender's own scale is 0.
PREFERENCES = SimpleNamespace(system=SimpleNamespace(ui_scale=1.0), addons={})
PANELS = (LIPSYNC_PT_speech, LIPSYNC_PT_bake, LIPSYNC_PT_life, LIPSYNC_PT_queue, LIPSYNC_PT_info)


def traces() -> set[str]:
    """Whatever of ours Blender knows."""
    lists = (bpy.app.handlers.depsgraph_update_post, bpy.app.handlers.load_post, bpy.app.handlers.save_pre)
    handlers = [handler for each in lists for handler in each]
    return {
        *(name for name in dir(bpy.types) if name.startswith(("LIPSYNC", "LipSync"))),
        *(name for name in ("wav2sem_lipsync", "wav2sem_queue") if hasattr(bpy.types.Scene, name)),
        *(name for name in ("wav2sem_face",) if hasattr(bpy.types.Object, name)),
        *(name for name in ("wav2sem_lipsync", "wav2sem_job") if hasattr(bpy.types.WindowManager, name)),
        *(f"{handler.__module__}.{handler.__name__}" for handler in handlers if "wav2sem" in handler.__module__),
        *(f"bpy.ops.wav2sem.{name}" for name in dir(bpy.ops.wav2sem)),
    }


def test_twice_clean() -> None:
    enabled = traces()
    assert enabled
    for _ in range(2):
        wav2sem_lipsync.unregister()
        assert traces() == set()
        wav2sem_lipsync.register()
        assert traces() == enabled


def draw_all(width: int = 300) -> list[str]:
    """Draw every panel on a layout that only remembers; returns all texts drawn."""
    texts = []
    context = SimpleNamespace(
        scene=bpy.context.scene,
        view_layer=bpy.context.view_layer,
        window_manager=bpy.context.window_manager,
        preferences=PREFERENCES,
        region=SimpleNamespace(width=width),
    )
    for panel in PANELS:
        layout = MagicMock()
        for maker in ("column", "row", "box", "split"):
            getattr(layout, maker).return_value = layout
        panel.draw(SimpleNamespace(layout=layout), context)
        for call in layout.mock_calls:
            texts += [str(value) for value in (*call.args, *call.kwargs.values()) if isinstance(value, str)]
    return texts


@pytest.mark.parametrize("source", ["FILE", "STRIP", "SOUND"])
@pytest.mark.parametrize("head", ["none", "flame", "arkit", "empty"])
def test_panels_draw_and_write_nothing(source: str, head: str) -> None:
    make = {"flame": made_up_head, "arkit": lambda: arkit_puppet(["jawOpen"]), "empty": lambda: add_object("E", None)}
    if head in make:
        make[head]()
    bpy.context.scene.wav2sem_lipsync.source = source
    before = fingerprint()
    assert draw_all()
    assert fingerprint() == before


def test_panel_tells_what_the_head_is() -> None:
    made_up_head()
    bpy.context.view_layer.update()
    target_check.refresh(bpy.context)
    assert any("FLAME" in text for text in draw_all(2000))
    arkit_puppet(["jawOpen", "mouthSmile_L"])
    target_check.refresh(bpy.context)
    assert any("2 ARKit keys recognised" in text for text in draw_all(2000))


def test_panel_tells_why_the_button_is_grey() -> None:
    assert any("No mesh is chosen" in text for text in draw_all(2000))
    made_up_head()
    assert any("No speech is chosen" in text for text in draw_all(2000))


def test_a_key_that_is_renamed_is_seen_at_once(settings: Any) -> None:
    key = arkit_puppet(["smirk"]).data.shape_keys.key_blocks["smirk"]
    bpy.context.view_layer.update()
    assert "8 vertices" in readiness.disabled_reason(bpy.context)
    key.name = "jawOpen"
    bpy.context.view_layer.update()
    assert readiness.disabled_reason(bpy.context) == ""
    assert any("1 ARKit keys recognised" in text for text in draw_all(2000))


def test_keys_that_the_model_does_not_move_are_no_drivers(settings: Any) -> None:
    puppet = arkit_puppet(["eyeBlinkLeft", "eyeBlinkRight"])
    bpy.context.view_layer.update()
    assert "moves none" in readiness.disabled_reason(bpy.context)
    assert not any("recognised" in text for text in draw_all(2000))
    bpy.context.window_manager.wav2sem_job.target_key = ""  # as in a script, where no update has looked
    with pytest.raises(RuntimeError, match="moves none"):
        bpy.ops.wav2sem.generate_lipsync()
    add_key(puppet, "jawOpen")
    bpy.context.view_layer.update()
    assert bpy.ops.wav2sem.generate_lipsync() == {"FINISHED"}


def test_target_is_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from wav2sem_lipsync.operators import target_mesh

    looks = []
    real = target_mesh.describe
    monkeypatch.setattr(target_mesh, "describe", lambda obj, names: looks.append(obj) or real(obj, names))
    made_up_head()
    for _ in range(5):
        target_check.refresh(bpy.context)
    assert len(looks) == 1


def test_panel_while_running() -> None:
    state = bpy.context.window_manager.wav2sem_job
    state.running, state.progress, state.stage, state.seconds_left = True, 0.4, "Listening to the speech", 200.0
    texts = draw_all()
    assert "40%, 3 min left" in texts
    assert "Listening to the speech …" in texts


def test_last_message_is_shown(settings: Any) -> None:
    made_up_head()
    bpy.ops.wav2sem.generate_lipsync()
    texts = draw_all(2000)
    assert any("speaks for" in text for text in texts)


def test_long_text_wraps_to_the_sidebar() -> None:
    layout = MagicMock()
    layout.column.return_value = layout
    context: Any = SimpleNamespace(preferences=PREFERENCES, region=SimpleNamespace(width=200))
    wrapped(layout, context, "a sentence that is much longer than the sidebar is wide", "INFO")
    lines = [call.kwargs["text"] for call in layout.label.mock_calls]
    assert len(lines) > 1
    assert " ".join(lines) == "a sentence that is much longer than the sidebar is wide"


def test_settings_are_saved_with_the_file(tmp_path: Any) -> None:
    settings = bpy.context.scene.wav2sem_lipsync
    settings.style, settings.destination, settings.start_frame = "broad", "NLA", 12.5
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "saved.blend"))
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    assert bpy.context.scene.wav2sem_lipsync.style == "neutral"
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "saved.blend"))
    settings = bpy.context.scene.wav2sem_lipsync
    assert (settings.style, settings.destination, settings.start_frame) == ("broad", "NLA", 12.5)
