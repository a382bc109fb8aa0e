# SPDX-License-Identifier: GPL-3.0-or-later
"""`python -m training.convert --faceformer vocaset.pth -o DIR`: official checkpoints to a model package.

Exit codes: 0 done, 1 a file does not fit (one sentence on stderr, nothing written), 2 wrong usage.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from . import ConvertError
from .checkpoint import read_checkpoint
from .layout import Arrays, AudioConfig, face_former, hugging_face
from .package import sha256_of, write_package

_WAV2VEC2_FILES = ("model.safetensors", "pytorch_model.bin")


def convert(
    faceformer: Path,
    output: Path,
    wav2sem: Path | None = None,
    wav2vec2: Path | None = None,
    audio_config: Path | None = None,
    fusion: str | None = None,
    dataset: str | None = None,
    name: str | None = None,
    half: bool = False,
) -> None:
    """Write the model package `output` from the given files; raises ConvertError and then leaves nothing behind."""
    if audio_config is None and wav2vec2 is not None:
        audio_config = wav2vec2 / "config.json"
    config = AudioConfig.read(audio_config) if audio_config else AudioConfig()
    sources = [faceformer]
    base: Arrays | None = None
    if wav2vec2 is not None:
        weights = next((wav2vec2 / file for file in _WAV2VEC2_FILES if (wav2vec2 / file).is_file()), None)
        if weights is None:
            raise ConvertError(f"“{wav2vec2}” holds neither {' nor '.join(_WAV2VEC2_FILES)}; download the whole model.")
        base = hugging_face(read_checkpoint(weights))
        sources.append(weights)
    semantic = None
    if wav2sem is not None:
        semantic = read_checkpoint(wav2sem)
        sources.append(wav2sem)
    model = face_former(read_checkpoint(faceformer), config, base, semantic, fusion, dataset)
    title = name or "FaceFormer" + (" with Wav2Sem" if model.wav2sem else "") + (
        " (BIWI)" if model.biwi else " (VOCASET)"
    )
    write_package(model, output, title, {name: sha256_of(path) for name, path in _named(sources).items()}, half)


def _named(sources: list[Path]) -> dict[str, Path]:
    """`sources` by file name; where these are alike, with as many folders before them as tell them apart."""
    paths = list(dict.fromkeys(path.resolve() for path in sources))
    names: list[str] = []
    for depth in range(1, max(len(path.parts) for path in paths) + 1):
        names = ["/".join(path.parts[-depth:]) for path in paths]
        if len(set(names)) == len(names):
            break
    return dict(zip(names, paths, strict=True))


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m training.convert", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--faceformer",
        required=True,
        type=Path,
        metavar="FILE",
        help="vocaset.pth, biwi.pth or a file that holds Wav2Sem, too",
    )
    parser.add_argument("--wav2sem", type=Path, metavar="FILE", help="Wav2Sem's model.pth.tar")
    parser.add_argument(
        "--wav2vec2", type=Path, metavar="DIR", help="wav2vec2-base-960h, for a FaceFormer file without audio encoder"
    )
    parser.add_argument(
        "--audio-config",
        type=Path,
        metavar="FILE",
        help="config.json of the audio encoder, where it is not wav2vec2-base",
    )
    parser.add_argument(
        "--fusion",
        choices=("add", "map"),
        help="add Wav2Sem's vector as it is, or through bert_feature_map (default: the map where there is one)",
    )
    parser.add_argument(
        "--dataset", choices=("vocaset", "biwi"), help="how frames are counted (default: by the mesh and the period)"
    )
    parser.add_argument("--half", action="store_true", help="store the audio networks in float16: half the size")
    parser.add_argument("--name", help="what the list of models shows")
    parser.add_argument("-o", "--output", required=True, type=Path, metavar="DIR", help="folder of the model package")
    try:
        convert(**vars(parser.parse_args(arguments)))
    except ConvertError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
