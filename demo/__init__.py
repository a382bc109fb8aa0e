# SPDX-License-Identifier: GPL-3.0-or-later
"""What `make demo` is made of: head, scene, rendering and plots."""
