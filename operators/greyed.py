# SPDX-License-Identifier: GPL-3.0-or-later
"""A button that is grey says why when one hovers over it."""

from __future__ import annotations

from collections.abc import Callable

import bpy


class Greyed:
    """Mixin for operators: `reason` says why it cannot be used now, in one sentence; empty when it can."""

    poll_message_set: Callable[[str], None]  # Operator's

    @classmethod
    def reason(cls, context: bpy.types.Context) -> str:
        """Asked on every redraw, so cheap."""
        raise NotImplementedError

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Whether there is no reason."""
        reason = cls.reason(context)
        if reason:
            cls.poll_message_set(reason)
        return not reason
