# SPDX-License-Identifier: GPL-3.0-or-later
"""Write a model package: `python -m training.export training/runs/main/last.pt vendored_models/wav2sem_small`.

model.onnx and wav2sem.onnx hold the whole path from samples (DFT as convolution included), decoder.npz the
decoder's parameters by their official names, model.json what inference needs to know. Ends with a parity check of the
package, run by `inference`, against PyTorch.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import warnings
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from inference import FaceMotion, LipSyncModel, Speech, read_speech
from inference.flame import INNER_LIPS
from inference.speech import SHORTEST

from . import checkpoints
from .batches import rest_pose
from .calibration import Calibration, calibrate
from .config import SAMPLE_RATE, STYLES, Config
from .corpus.clips import REAL_SPEECH, corpus_folder
from .decoder import FaceDecoder
from .encoder import Wav2Sem
from .features import STEP
from .geometry import NEUTRAL_GAP, lip_geometry
from .model import FaceFormer, MemoryGraph
from .packing import open_corpus
from .storage import shrink
from .train import grown
from .wav2sem import sentence_vectors

OPSET = 17
SENTENCE_BITS = 8  # of Wav2Sem's weights: its vector changes by half a per cent, the lips by micrometres
TOLERANCE = 1e-4  # of a blendshape weight, with float32 storage
STORAGE_TOLERANCE = 1e-4  # metres that storage in fewer bits may move a vertex
SAMPLE = Path(__file__).resolve().parent.parent / "vendored_models" / "demo_speech" / "speech.flac"

# The rules press lips by .12 in a closure (targets/face.py); a network in doubt does a part of it. The thresholds
# (training/calibration.py) were chosen on held-out speech: lower shuts lips that should be open, higher leaves closures
# open.
USUAL = Calibration()  # of packages that are not calibrated
CLOSURE = {
    "signal": ["mouthPressLeft", "mouthPressRight"],
    "pairs": [list(pair) for pair in INNER_LIPS], "neutral": NEUTRAL_GAP / 1000, "shut": -0.0001,
    # Chosen on the development clips: lips are within a fifth of their range of shut as often as their speakers'.
    "narrow": 0.6, "between": [0.0005, 0.016], "spared": ["mumbled"],
}  # fmt: skip

# Chosen on the development clips: their speakers' still moments are then as still here, at .003 of the correlation.
STEADINESS = {"still": 0.003, "moving": 0.005, "around": 0.08, "smoothing": 0.04}

ATTRIBUTION = [
    "LibriSpeech ASR corpus, V. Panayotov, G. Chen, D. Povey, S. Khudanpur, CC BY 4.0",
    "AN4 database, Carnegie Mellon University, BSD-like licence of cmusphinx/an4",
    "Asterisk prompts, Italian by Carlo Flora and Russian by Maxim Topal, CC BY 3.0",
    "VCTK corpus, CSTR, University of Edinburgh, CC BY 4.0",
    "Mycroft Precise community data, public domain",
    "Wake words of Picovoice's wake-word-benchmark, Apache-2.0",
    "Samples of IBM's Watson speech-to-text demo, Apache-2.0, and of SpeechBrain, Apache-2.0",
    "Samples of Microsoft's cognitive-services-speech-sdk, MIT, and of the Montreal Forced Aligner, MIT",
    "ICT Face Model Light, USC Institute for Creative Technologies, MIT (blendshape deltas)",
    "FLAME 2023 Open, Max Planck Institute for Intelligent Systems, CC BY 4.0 (topology)",
    "all-MiniLM-L6-v2, sentence-transformers, Apache-2.0 (training target of Wav2Sem)",
]


@dataclass(frozen=True)
class MadeWith:
    """What no parameter of a package tells and `training.restore` needs; the defaults are those of 0.6.0.

    heads: attention heads of the speech encoder. gain: see `amplify`. advance: milliseconds, see `MemoryGraph`.
    subtract: see `features.LogMel`.
    """

    heads: int = Config.heads
    gain: float = 1.15
    advance: int = 15
    subtract: float = 0.0


def _trace(graph: nn.Module, inputs: dict[str, Tensor], output: str, lengths: dict[str, str], path: Path) -> None:
    """Write `graph` as it computes `output` from `inputs`; lengths: names of what varies along axis 1, by tensor."""
    for module in graph.modules():
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight")
        if hasattr(module, "config") and hasattr(module.config, "_attn_implementation"):
            module.config._attn_implementation = "eager"
    axes = {name: {1: length} for name, length in lengths.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            graph.eval(), tuple(inputs.values()), str(path), input_names=list(inputs), output_names=[output],
            dynamic_axes=axes, opset_version=OPSET, dynamo=False,
        )  # fmt: skip


def amplify(decoder: FaceDecoder, rest: np.ndarray, gain: float) -> None:
    """Make all motion around the resting face (K,) `gain` times as large, in place.

    A network that minimises squared error moves less than people do wherever it is unsure. The change is affine in the
    outputs; it goes into vertice_map_r and out of vertice_map again, so the feedback loop itself is untouched.
    """
    shift = (1 - gain) * torch.tensor(rest)
    with torch.no_grad():
        decoder.vertice_map.bias.sub_(decoder.vertice_map.weight @ shift / gain)
        decoder.vertice_map.weight.div_(gain)
        decoder.vertice_map_r.weight.mul_(gain)
        decoder.vertice_map_r.bias.mul_(gain).add_(shift)


def average(network: FaceFormer, initial: FaceFormer, share: float) -> None:
    """Move the parameters of `network` to `share` of them and the rest of `initial`, which its training began with.

    Two ends of one training lie in one basin, and between them noise is heard better than at either (Wortsman et al.
    2022, "Robust fine-tuning of zero-shot models"). Raises ValueError when they are of different shapes.
    """
    shapes = [{name: p.shape for name, p in each.named_parameters()} for each in (network, initial)]
    if shapes[0] != shapes[1]:
        raise ValueError("The two networks are of different shapes; give the checkpoint that training began with.")
    with torch.no_grad():
        for kept, other in zip(network.parameters(), initial.parameters(), strict=True):
            kept.lerp_(other, 1 - share)


def beginning(network: FaceFormer, outputs: int, initial: Path) -> FaceFormer:
    """What the training of `network` began with: the checkpoint `initial`, with layers added to it as then."""
    shallow = checkpoints.config_of(initial)
    layers = max(shallow.layers, network.config.layers)
    return grown(replace(shallow, layers=layers, seed=network.config.seed), outputs, initial)


def hear_every(step: int, network: FaceFormer, wav2sem: Wav2Sem | None) -> None:
    """Have both hear a log-mel frame every `step` samples, in place; errors as of `SpeechEncoder.hear_every`."""
    for listener in (network, wav2sem):
        if listener is not None:
            listener.audio_encoder.hear_every(step)


def export_package(
    network: FaceFormer,
    names: tuple[str, ...],
    wav2sem: Wav2Sem | None,
    folder: Path,
    version: str,
    shrunk: bool = True,
    advance: int = 0,
    calibration: Calibration = USUAL,
) -> None:
    """Write model.json, the graphs and decoder.npz into `folder`. The networks are changed (weight norm is folded).

    shrunk: store the graphs' weights in fewer bits.
    """
    folder.mkdir(parents=True, exist_ok=True)
    inputs = {"speech": torch.randn(1, 3 * SAMPLE_RATE) * 0.05}
    bits = {"model.onnx": 16}
    if wav2sem is not None:
        bits["wav2sem.onnx"] = SENTENCE_BITS
        _trace(wav2sem, inputs, "semantic", {"speech": "samples"}, folder / "wav2sem.onnx")
        inputs["semantic"] = torch.zeros(1, network.config.semantic)
    else:
        (folder / "wav2sem.onnx").unlink(missing_ok=True)
    lengths = {"speech": "samples", "memory": "frames"}
    _trace(MemoryGraph(network, advance), inputs, "memory", lengths, folder / "model.onnx")
    for name in bits if shrunk else ():
        shrink(folder / name, bits[name])
    arrays = {key: value.float().numpy() for key, value in network.decoder.state_dict().items()}
    np.savez(folder / "decoder.npz", **arrays)
    files = sorted([*bits, "decoder.npz"])
    package = {
        "schema": 1, "id": "wav2sem-small", "name": "Wav2Sem FaceFormer small", "version": version,
        "licence": "CC-BY-4.0", "attribution": ATTRIBUTION, "sample_rate": SAMPLE_RATE,
        "fps": network.audio_encoder.fps, "normalise": "none", "topology": "flame-5023",
        "output": {"kind": "blendshapes", "names": list(names)},
        "styles": list(STYLES), "default_style": STYLES[0],
        "decoder": {"period": network.config.period, "heads": network.config.decoder_heads, "memory_per_frame": 1},
        "lip_vertices": lip_geometry(names).lips.tolist(),
        "closure": CLOSURE | {"begins": calibration.begins, "certain": calibration.certain},
        "steadiness": STEADINESS,
        "made_with": asdict(MadeWith(network.config.heads, calibration.gain, advance, network.config.subtract)),
        "files": {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in files},
    }  # fmt: skip
    (folder / "model.json").write_text(json.dumps(package, indent=1) + "\n", encoding="utf-8")


@torch.no_grad()
def parity(network: FaceFormer, wav2sem: Wav2Sem | None, folder: Path, advance: int = 0, seconds: float = 4.0) -> float:
    """Largest difference in weights between the package (onnxruntime and numpy) and PyTorch's literal loop."""
    model = LipSyncModel.load(folder)
    hop = round(SAMPLE_RATE / model.package.fps)
    random = np.random.default_rng(0)
    time = np.arange(int(seconds * SAMPLE_RATE) // hop * hop) / SAMPLE_RATE
    sound = (0.1 * random.standard_normal(len(time)) * (np.sin(2 * np.pi * 3 * time) > 0)).astype(np.float32)
    speech = torch.tensor(sound)[None]
    vector = wav2sem(speech) if wav2sem is not None else None
    memory = MemoryGraph(network.eval(), advance)(speech, vector)
    expected = network.decoder.loop(memory, torch.eye(len(STYLES))[:1])[0].clamp(0, 1).numpy()
    expected = model.finish(expected, model.style_vector(STYLES[0]))
    return float(np.abs(model.run(Speech(sound), style=STYLES[0]).weights - expected).max())


def check_storage(full: FaceMotion, stored: FaceMotion) -> float:
    """Largest distance in metres between vertices of the same speech, from float32 weights and from `shrink`.

    Raises ValueError when it exceeds STORAGE_TOLERANCE.
    """
    flat = full.basis.reshape(len(full.names), -1)
    moves = ((frame @ flat).reshape(-1, 3) for frame in full.weights - stored.weights)
    largest = max(float(np.linalg.norm(move, axis=1).max()) for move in moves)
    if not largest < STORAGE_TOLERANCE:
        raise ValueError(
            f"Storing the weights in fewer bits moves a vertex by {largest * 1000:.3f} mm; "
            f"{STORAGE_TOLERANCE * 1000:g} mm are allowed. Export with --float32."
        )
    return largest


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=checkpoints.whole_lips)
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "--wav2sem", type=checkpoints.branch, help="checkpoint of the branch the network was trained with"
    )
    parser.add_argument("--version", default="0.1.0")
    parser.add_argument(
        "--gain", type=float, help="of all motion around the resting face (default: as --calibrate finds it, or 1)"
    )
    parser.add_argument("--initial", type=checkpoints.whole_lips, help="what training began with, to average with")
    parser.add_argument("--share", type=float, default=0.7, help="of the trained network in that average")
    parser.add_argument(
        "--calibrate", type=corpus_folder, metavar="CACHE", help="corpus that gain and closures are fitted to"
    )
    parser.add_argument("--real", type=Path, default=REAL_SPEECH, help="folder that its real clips' paths start from")
    parser.add_argument("--advance", type=int, default=0, help="milliseconds by which the lips are shown earlier")
    parser.add_argument("--step", type=int, default=STEP, help="samples from one log-mel frame to the next")
    parser.add_argument("--float32", action="store_true", help="store weights in full; twice the size")
    options = parser.parse_args()
    # Of speech shorter than its advance nothing would be left.
    for name, low, high in (("gain", 0.1, 10), ("share", 0, 1), ("advance", 0, 1000 * SHORTEST)):
        given = getattr(options, name)
        if given is not None and not low <= given <= high:
            parser.error(f"--{name} lies between {low:g} and {high:g}")
    network, names = checkpoints.load_network(options.checkpoint)
    if bool(network.config.semantic) != bool(options.wav2sem):
        parser.error("give --wav2sem exactly when the network was trained with it")
    if options.initial:
        try:
            average(network, beginning(network, len(names), options.initial), options.share)
        except ValueError as error:
            parser.error(str(error))
    wav2sem = checkpoints.load_wav2sem(options.wav2sem) if options.wav2sem else None
    calibration = Calibration(gain=1.0 if options.gain is None else options.gain)
    if options.calibrate:
        corpus = open_corpus(parser, options.calibrate, options.real)
        vectors = sentence_vectors(options.wav2sem, corpus, options.calibrate) if options.wav2sem else None
        try:
            calibration = calibrate(network, corpus, vectors)
            if options.gain is not None:
                calibration = calibration.with_gain(options.gain)
        except ValueError as error:  # as of a small corpus: the package is written all the same
            print(error)
        print(calibration)
    amplify(network.decoder, rest_pose(), calibration.gain)
    try:
        hear_every(options.step, network, wav2sem)
    except ValueError as error:
        parser.error(str(error))

    def write(shrunk: bool) -> None:
        advance, version = options.advance, options.version
        export_package(network, names, wav2sem, options.folder, version, shrunk, advance, calibration)

    write(shrunk=False)
    full = parity(network, wav2sem, options.folder, options.advance)
    print(f"largest difference to PyTorch, float32: {full:.1e} of a weight")
    if full > TOLERANCE:
        raise SystemExit(f"The exported package differs from the network by {full:.1e}; it must not be used.")
    if not options.float32:
        sample = read_speech(SAMPLE)
        before = LipSyncModel.load(options.folder).run(sample)
        write(shrunk=True)
        try:
            moved = check_storage(before, LipSyncModel.load(options.folder).run(sample))
        except ValueError as error:
            raise SystemExit(f"{error} The package in {options.folder} must not be used.") from error
        stored = parity(network, wav2sem, options.folder, options.advance)
        print(f"in fewer bits: {stored:.1e} of a weight from PyTorch, vertices move by {moved * 1e6:.2f} micrometres")
    print(f"{sum(f.stat().st_size for f in options.folder.iterdir()) / 1e6:.1f} MB in {options.folder}")


if __name__ == "__main__":
    main()
