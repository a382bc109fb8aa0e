# SPDX-License-Identifier: GPL-3.0-or-later
"""A package of ours as checkpoints again: `python -m training.restore MODEL FOLDER`, as vendored_models/wav2sem_small.

By it a training goes on from the released model where no checkpoint of that is at hand: last.pt for `--initial` of
training.train, wav2sem.pt for its `--wav2sem`. A package holds no phone head; here it is fitted anew to what the
encoder hears in the corpus. The map from text embeddings, which only training.ablation asks for, is lost.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrize
from tqdm import tqdm

from inference import LipSyncError
from inference.model_package import ModelPackage
from inference.speech import SHORTEST

from . import checkpoints
from .batches import rest_pose
from .config import NO_PHONE, SAMPLE_RATE, Config
from .corpus.clips import add_corpus_options
from .encoder import Wav2Sem
from .export import TOLERANCE, MadeWith, amplify, hear_every, parity
from .features import STEP
from .model import FaceFormer
from .packing import Corpus, open_corpus
from .storage import constants

CLIPS = 600  # that the phone head is fitted to
DECAY = 1e-4  # of the phone head's weights


def graph_parameters(path: Path) -> dict[str, np.ndarray]:
    """The parameters of an exported graph by their names in PyTorch, float32.

    Weights of linear layers lose their names in the graph; the names of their products tell the layer's.
    """
    graph = onnx.load(path).graph
    arrays = constants(graph)
    for node in graph.node:
        if node.op_type == "MatMul" and node.input[1] in arrays:
            arrays[f"{_module(node.name)}.weight"] = arrays.pop(node.input[1]).T
    return {name.removeprefix("network."): array for name, array in arrays.items()}


def _module(node: str) -> str:
    """The module that a node of a graph was traced from: "/a/b/b.0/MatMul" is of "a.b.0"."""
    parts = node.strip("/").split("/")[:-1]
    return ".".join(part.removeprefix(f"{above}.") for above, part in zip(["", *parts], parts, strict=False))


def fill(network: nn.Module, arrays: dict[str, np.ndarray], without: str = "") -> None:
    """Set the parameters of `network` from `arrays`, all but those of the module `without`.

    Raises ValueError where names or shapes differ.
    """
    wanted = {name.replace("parametrizations.weight.original1", "weight") for name, _ in network.named_parameters()}
    wanted = {name for name in wanted if name.partition(".")[0] != without and not name.endswith(".original0")}
    if differing := sorted(wanted ^ arrays.keys()):
        raise ValueError(f"This package is not of training.export: {differing[0]} is wanted or found, not both.")
    for name, array in arrays.items():
        module, _, last = name.rpartition(".")
        owner, value = network.get_submodule(module), torch.tensor(array)
        if getattr(owner, last).shape != value.shape:
            raise ValueError(f"This package is not of training.export: {name} is {tuple(value.shape)}.")
        if parametrize.is_parametrized(owner, last):  # weight norm splits what it is given into length and direction
            setattr(owner, last, value)
        else:
            getattr(owner, last).data.copy_(value)


def restore(folder: Path) -> tuple[FaceFormer, Wav2Sem | None, tuple[str, ...], MadeWith]:
    """The networks of a package as they move there, its blendshapes' names and what it was made with.

    Raises ModelError when there is no package in `folder`, and ValueError when it is not one of training.export's.
    """
    package = ModelPackage.read(folder)
    if package.output_kind != "blendshapes" or package.encoder_kind != "frames":
        raise ValueError(f"“{package.name}” is not of training.export; restore a package that is.")
    made = _made_with(folder)
    arrays = graph_parameters(folder / "model.onnx")
    config = Config(
        bands=_size(arrays, "audio_encoder.front_end.conv1.weight", 1),
        hidden=_size(arrays, "audio_encoder.front_end.conv1.weight", 0),
        layers=_layers(arrays),
        heads=made.heads,
        subtract=made.subtract,
        semantic=_size(arrays, "semantic_map.weight", 1) if "semantic_map.weight" in arrays else 0,
        decoder=_size(arrays, "audio_feature_map.bias", 0),
        decoder_heads=package.heads,
        period=package.period,
    )
    network = FaceFormer(config, len(package.output_names)).eval()
    with np.load(folder / "decoder.npz", allow_pickle=False) as stored:
        decoder = {f"decoder.{name}": stored[name] for name in stored.files}
    fill(network, arrays | decoder, "phone_head")
    wav2sem = None
    if config.semantic:
        arrays = graph_parameters(folder / "wav2sem.onnx")
        wav2sem = Wav2Sem(replace(config, layers=_layers(arrays))).eval()
        fill(wav2sem, arrays)
    hear_every(round(SAMPLE_RATE / 2 / package.fps), network, wav2sem)
    return network, wav2sem, package.output_names, made


def _made_with(folder: Path) -> MadeWith:
    """What model.json says of that; raises ValueError for what cannot be."""
    stored = json.loads((folder / "model.json").read_text(encoding="utf-8")).get("made_with", {})
    try:
        heads, gain, advance, subtract = (float(stored.get(field.name, field.default)) for field in fields(MadeWith))
        known = stored.keys() <= {field.name for field in fields(MadeWith)}
        ahead = 0 <= advance <= 1000 * SHORTEST  # as of training.export; a longer one would be filled with zeros
        if known and 1 <= heads <= 64 and 0 < gain < 100 and ahead and 0 <= subtract <= 10:
            return MadeWith(int(heads), gain, int(advance), subtract)
    except (TypeError, ValueError, AttributeError, OverflowError) as error:
        raise ValueError(f"The model.json in “{folder}” has no usable “made_with” ({error}).") from error
    raise ValueError(f"The model.json in “{folder}” has no usable “made_with”.")


def _size(arrays: dict[str, np.ndarray], name: str, axis: int) -> int:
    if name not in arrays or arrays[name].ndim <= axis:
        raise ValueError(f"This package is not of training.export: it has no {name}.")
    return int(arrays[name].shape[axis])


def _layers(arrays: dict[str, np.ndarray]) -> int:
    """Layers of the speech encoder among an exported graph's parameters."""
    return len({name.split(".")[3] for name in arrays if name.startswith("audio_encoder.encoder.layers.")})


def fit_phone_head(network: FaceFormer, corpus: Corpus) -> float:
    """Fit the phone head to what the encoder hears in aligned clips; how many frames of these are right then."""
    known = [i for i in corpus.choose("train") if (corpus.clips[i].phones != NO_PHONE).any()]
    clips = [corpus.clips[i] for i in np.random.default_rng(7).permutation(known)[:CLIPS]]
    heard, phones = [], []
    with torch.no_grad():
        for clip in tqdm(clips, "listening", unit="clip", mininterval=5):
            right = torch.tensor(np.array(clip.phones), dtype=torch.long)
            heard.append(network.audio_encoder(torch.tensor(clip.speech())[None])[0][right != NO_PHONE])
            phones.append(right[right != NO_PHONE])
    features, answers = torch.cat(heard), torch.cat(phones)
    head = network.phone_head
    optimiser = torch.optim.LBFGS(head.parameters(), max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        error = functional.cross_entropy(head(features), answers) + DECAY * head.weight.square().sum()
        error.backward()
        return error

    optimiser.step(loss)
    with torch.no_grad():
        return float((head(features).argmax(1) == answers).float().mean())


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("package", type=Path)
    parser.add_argument("folder", type=Path, help="where last.pt and wav2sem.pt go")
    add_corpus_options(parser)
    options = parser.parse_args()
    if (options.folder / "last.pt").exists():
        parser.error(f"{options.folder / 'last.pt'} exists and is kept; name another folder.")
    try:
        network, wav2sem, names, made = restore(options.package)
    except (LipSyncError, ValueError) as error:
        parser.error(str(error))
    differs = parity(network, wav2sem, options.package, made.advance)
    print(f"largest difference to the package: {differs:.1e} of a weight")
    if differs > TOLERANCE:
        raise SystemExit("The networks move otherwise than the package, which was made with something not known here.")
    amplify(network.decoder, rest_pose(), 1 / made.gain)
    hear_every(STEP, network, wav2sem)
    corpus = open_corpus(parser, options.cache, options.real)
    print(f"phones right in the {CLIPS} clips that the phone head was fitted to: {fit_phone_head(network, corpus):.3f}")
    options.folder.mkdir(parents=True, exist_ok=True)
    state = {"config": network.config.to_dict(), "names": list(names), "average": network.state_dict()}
    checkpoints.save(options.folder / "last.pt", state)
    if wav2sem is not None:
        config = replace(network.config, layers=len(wav2sem.audio_encoder.encoder.layers))
        state = {"config": config.to_dict(), "network": wav2sem.state_dict()}
        checkpoints.save(options.folder / "wav2sem.pt", state)


if __name__ == "__main__":
    main()
