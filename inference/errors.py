# SPDX-License-Identifier: GPL-3.0-or-later
"""What can go wrong, in words for the person at the screen.

`str(error)` is always one plain sentence that says what to do. Beside these the package raises what a caller's own
mistake deserves (ValueError), and what the system says of a result's place (OSError).
"""


class LipSyncError(Exception):
    """Root of every error that a user can cause or mend."""


class AudioError(LipSyncError):
    """The speech cannot be read or used."""


class ModelError(LipSyncError):
    """A model package is missing, damaged or of another kind."""


class MeshError(LipSyncError):
    """The mesh cannot carry lip-sync shape keys."""


class CacheError(LipSyncError):
    """A vertex cache cannot be written or read."""


class OutputError(LipSyncError):
    """The result has no place, or not the one that was asked for."""


class RuntimeMissing(LipSyncError):
    """A library that runs the model or reads sound cannot be loaded on this machine."""


class Cancelled(LipSyncError):
    """The user stopped the work; nothing has been changed."""

    def __init__(self, message: str = "Cancelled; nothing was changed.") -> None:
        super().__init__(message)


def in_words(error: BaseException) -> str:
    """The sentence on `error`: ours say it themselves, Ctrl-C says nothing, and a lack of memory no way out."""
    if isinstance(error, MemoryError):
        return "There is too little memory for this; close other programs, or cut the speech into pieces."
    return str(error) or str(Cancelled())
