# SPDX-License-Identifier: GPL-3.0-or-later
"""The training corpus: real and synthetic speech with phone times, and sound that is not speech.

``python -m training.corpus --profile small|cpu|full`` fills a cache folder (default ``training/cache``) with FLAC
files and one line per clip in ``clips.jsonl``. The same command resumes an interrupted run; the same seed makes the
same corpus. The modules: ``clips`` (what a clip is), ``phones`` (one phone set for every source), ``real``,
``texts``, ``voices``, ``engines`` and ``espeak`` (synthesis), ``align`` (forced alignment), ``convert`` (new
speakers from old), ``nonspeech``, ``build`` (the order of work). ``SOURCES.md`` names every voice and recording with
its licence.
"""
