# SPDX-License-Identifier: GPL-3.0-or-later
"""What makes the embedded model and the vendored data; nothing here is part of the extension."""
