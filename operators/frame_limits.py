# SPDX-License-Identifier: GPL-3.0-or-later
"""Between which frames Blender plays (its MINAFRAME and MAXFRAME). Knows nothing of bpy."""

from typing import Final

FIRST_FRAME: Final = -1_048_574
LAST_FRAME: Final = 1_048_574
