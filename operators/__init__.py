# SPDX-License-Identifier: GPL-3.0-or-later
"""Everything that touches bpy: properties, audio source, target mesh, shape keys, actions, jobs, command line."""

from importlib import import_module

MODULES = (
    "preferences",
    "model_list",
    "properties",
    "queue_properties",
    "face_properties",
    "target_check",
    "run_operator",
    "generate_lipsync",
    "queue",
    "cancel_lipsync",
    "retime",
    "fix_mouth",
    "copy_report",
    "export_head",
    "refine",
    "hand_edits",
    "refine_actions",
    "command_line",
)


def register() -> None:
    """Register every module in order; an error is not hidden."""
    for name in MODULES:
        import_module(f".{name}", __name__).register()


def unregister() -> None:
    """Undo `register` in reverse order."""
    for name in reversed(MODULES):
        import_module(f".{name}", __name__).unregister()
