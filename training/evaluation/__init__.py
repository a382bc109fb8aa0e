# SPDX-License-Identifier: GPL-3.0-or-later
"""What `training.evaluate` measures, one question per module; none of them trains anything."""
