# SPDX-License-Identifier: GPL-3.0-or-later
"""Turns the authors' FaceFormer and Wav2Sem checkpoints into model packages: `python -m training.convert --help`."""


class ConvertError(Exception):
    """A checkpoint cannot be converted; `str(error)` is one plain sentence that says why."""
