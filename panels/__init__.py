# SPDX-License-Identifier: GPL-3.0-or-later
"""Drawing only: the sidebar tab Lip Sync."""

from importlib import import_module

MODULES = (
    "speech_panel",
    "queue_panel",
    "bake_panel",
    "refine_panel",
    "life_panel",
    "edits_panel",
    "info_panel",
    "export_menu",
)


def register() -> None:
    """Register every panel, in the order in which they are shown."""
    for name in MODULES:
        import_module(f".{name}", __name__).register()


def unregister() -> None:
    """Undo `register` in reverse order."""
    for name in reversed(MODULES):
        import_module(f".{name}", __name__).unregister()
