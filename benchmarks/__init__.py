# SPDX-License-Identifier: GPL-3.0-or-later
"""How fast the product is, measured beside a baseline in the same run."""
