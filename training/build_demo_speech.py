# SPDX-License-Identifier: GPL-3.0-or-later
"""Synthesise the demo's speech under vendored_models/demo_speech, with the times of its phones.

    python -m training.build_demo_speech [--out vendored_models/demo_speech]

The voice is RHVoice's bdl, which the model has never heard: it is held out from training. `setup_engines.sh` in
training/corpus installs RHVoice.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from tempfile import TemporaryDirectory

import soundfile

from .corpus import engines
from .corpus.voices import Voice

VOICE = Voice("rhvoice", "bdl", "en", 0.0, "test")
TEXT = "Hi, I'm a Blender head. Give me your voice, and watch my lips move, frame by frame."


def main() -> None:
    """Command line."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("vendored_models/demo_speech"))
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    _, phones = engines.synthesise(VOICE, TEXT, rate=1.0, pitch=1.0, liveliness=0.5)
    with TemporaryDirectory() as folder:  # once more, at RHVoice's own sampling rate
        command = [str(engines.ROOT / "usr/bin/RHVoice-test"), "-q", "max", "-p", VOICE.name, "-o", "speech.wav"]
        engines.run(command, Path(folder), TEXT)
        sound, rate = soundfile.read(Path(folder) / "speech.wav", dtype="int16")
    soundfile.write(out / "speech.flac", sound, rate, subtype="PCM_16")
    rows = ",\n  ".join(json.dumps([round(start, 3), round(end, 3), phone]) for start, end, phone in phones)
    text = f'{{\n "text": {json.dumps(TEXT)},\n "voice": "RHVoice {VOICE.name}",\n "phones": [\n  {rows}\n ]\n}}\n'
    (out / "speech.json").write_text(text, encoding="utf-8")
    print(f"{len(sound) / rate:.2f} s at {rate} Hz, {len(phones)} phones")


if __name__ == "__main__":
    main()
