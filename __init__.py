# SPDX-License-Identifier: GPL-3.0-or-later
"""Wav2Sem Lip Sync: speech to editable shape-key animation, in Blender."""


def register() -> None:
    """Register operators first, then the panels that name them."""
    from . import operators, panels

    operators.register()
    panels.register()


def unregister() -> None:
    """Undo `register` in reverse order."""
    from . import operators, panels

    panels.unregister()
    operators.unregister()
