# SPDX-License-Identifier: GPL-3.0-or-later
"""The parts of the demo head: skin, mouth, eyes, hairs and clothes, each with its map from FLAME offsets.

Everything here is in FLAME's axes and unit: metres, +X to the head's left, +Y up, +Z forward.
"""
