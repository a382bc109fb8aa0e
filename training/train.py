# SPDX-License-Identifier: GPL-3.0-or-later
"""Train the network: `python -m training.train --profile cpu --folder training/runs/main`.

On several GPUs, or one process per core of a busy machine: `torchrun --nproc-per-node 2 -m training.train …`.

Writes into the run's folder: last.pt (resumable), TensorBoard scalars, log.jsonl (one line per evaluation).
Evaluation and export take the exponential moving average of the parameters.
"""

from __future__ import annotations

import argparse
import copy
import math
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import broadcast
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from . import checkpoints
from .batches import Batch, BatchStream, ExampleMaker, loader, seconds_of, warped_filters
from .config import NO_PHONE, PROFILES, STYLES, Config, profile
from .corpus.clips import add_corpus_options
from .features import STEP
from .figures import as_json
from .geometry import MEASURES, lip_geometry
from .losses import PRESSED, LipLoss, differences
from .model import FaceFormer, Heard, Prediction, count_parameters
from .packing import Clip, Corpus, open_corpus, with_labels
from .wav2sem import sentence_vectors

DECAY = 0.02  # of weights, not of biases and norms
# Maps into the network and out of it.
ENDS = ("phone_head", "semantic_map", "decoder.vertice_map", "decoder.obj_vector")
EVALUATIONS = 10  # of a training that is so many steps long
SHAPE = ("front_end", "bands", "hidden", "layers", "heads", "decoder", "decoder_heads")  # what a checkpoint hands on


def learning_rate(progress: float, config: Config) -> float:
    """Linear warm-up, then a cosine down to 2 %; `progress` runs from 0 to 1."""
    if progress < config.warm_up:
        return config.rate * progress / config.warm_up
    fraction = (progress - config.warm_up) / (1 - config.warm_up)
    return config.rate * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(fraction, 1.0))))


def optimisers_of(network: nn.Module) -> list[torch.optim.Optimizer]:
    """Muon for the matrices that lead from features to features, AdamW for everything else.

    Muon (Jordan et al. 2024) orthogonalises every update, so that rare directions learn, too. Its updates are scaled to
    the size of AdamW's (Liu et al. 2025, "Muon is scalable for LLM training", 2.2) and share its learning rate. Maps
    from sound and faces and to phones and faces, convolutions, biases and norms are not what it is made for.
    """
    inner = {name for name, p in network.named_parameters() if p.ndim == 2 and not name.startswith(ENDS)}
    matrices = [p for name, p in network.named_parameters() if name in inner]
    others = [p for name, p in network.named_parameters() if name not in inner and p.ndim > 1]
    plain = [p for p in network.parameters() if p.ndim < 2]
    groups = [{"params": others, "weight_decay": DECAY}, {"params": plain, "weight_decay": 0.0}]
    muon = torch.optim.Muon(matrices, lr=1e-9, weight_decay=DECAY, adjust_lr_fn="match_rms_adamw")
    return [muon, torch.optim.AdamW(groups, lr=1e-9, betas=(0.9, 0.98), fused=True)]


def update_average(average: nn.Module, network: nn.Module, decay: float, step: int) -> None:
    """Exponential moving average, faster while there is little to average."""
    decay = min(decay, (1 + step) / (10 + step))
    with torch.no_grad():
        for kept, new in zip(average.parameters(), network.parameters(), strict=True):
            kept.lerp_(new.to(kept.device), 1 - decay)


def predict(network: FaceFormer, clip: Clip, vector: np.ndarray | None) -> Prediction:
    """What the network makes of a whole clip in the neutral style; `vector` (S,) is its sentence vector."""
    style = torch.eye(len(STYLES))[:1]
    answer: Prediction = network(
        torch.tensor(clip.speech())[None], style, None if vector is None else torch.tensor(vector)[None]
    )
    return answer


@torch.no_grad()
def evaluate(network: FaceFormer, corpus: Corpus, clips: np.ndarray, semantics: np.ndarray | None) -> dict[str, float]:
    """Figures on whole development clips, neutral style, without augmentation; `network` learns or rests as before.

    phone_accuracy over labelled frames; aperture_r: correlation of the opening with the target's, over all frames;
    aperture_mm: its mean absolute error; shut_mm: mean opening beyond the target's where that is shut.
    """
    learning = network.training
    network.eval()
    network.audio_encoder.hear_every(STEP)
    measures = torch.tensor(lip_geometry(corpus.names).measures)[:, MEASURES.index("aperture")]
    right, opening, wanted, shut = [], [], [], []
    for index in clips:
        clip = corpus.clips[index]
        prediction = predict(network, clip, None if semantics is None else semantics[index])
        phones = torch.tensor(np.array(clip.phones), dtype=torch.long)
        known = phones != NO_PHONE
        right.append((prediction.phones[0].argmax(-1) == phones)[known])
        opening.append(prediction.weights[-1][0].clamp(0, 1) @ measures)
        wanted.append(torch.tensor(np.array(clip.weights[0], np.float32)) @ measures)
        shut.append(wanted[-1] < PRESSED)
    a, b, c = torch.cat(opening), torch.cat(wanted), torch.cat(shut)
    network.train(learning)
    return {
        "phone_accuracy": float(torch.cat(right).float().mean()),
        "aperture_r": float(torch.corrcoef(torch.stack([a, b]))[0, 1]),
        "aperture_mm": float((a - b).abs().mean()),
        "shut_mm": float((a - b)[c].clamp(min=0).mean()),
    }


def development_clips(corpus: Corpus, count: int) -> dict[str, np.ndarray]:
    """Up to `count` clips each of people and of machines that early stopping watches, always the same."""
    clips = np.array([i for i in corpus.choose("dev") if corpus.clips[i].watched], int)
    real = np.array([corpus.clips[i].real for i in clips], bool)
    random = np.random.default_rng(7)
    sets = {"real": clips[real], "synthetic": clips[~real]}
    return {name: random.permutation(found)[:count] for name, found in sets.items() if len(found)}


def blurred(vectors: Tensor) -> Tensor:
    """Sentence vectors (B, S) dropped or blurred now and then, so that nothing leans on them."""
    keep = (torch.rand(len(vectors), 1, device=vectors.device) > 0.15).to(vectors.dtype)
    return (vectors + 0.05 * torch.randn_like(vectors)) * keep


def forward_loss(
    network: nn.Module, losses: LipLoss, batch: Batch, filters: Tensor, teacher: FaceFormer | None = None
) -> dict[str, Tensor]:
    """Losses of one batch, its sentence vectors `blurred`.

    teacher: hears the same without noise, and what `differences` then finds counts as config.clean_weight says.
    """
    semantic = blurred(batch.semantic) if batch.semantic.shape[1] else None
    prediction = network(batch.speech, batch.style, semantic, filters[batch.warp], batch.mask)
    terms: dict[str, Tensor] = losses(prediction, batch.weights, batch.phones, batch.known)
    if teacher is not None:
        teacher.audio_encoder.hear_every(batch.step)
        with torch.no_grad():
            features, memory = teacher.encode(batch.clean, semantic, filters[batch.warp])
            clean = Heard(memory, teacher.phone_head(features))
        for name, value in differences(prediction, clean).items():
            terms[name] = teacher.config.clean_weight * value
            terms["total"] = terms["total"] + terms[name]
    return terms


def grown(config: Config, outputs: int, initial: Path) -> FaceFormer:
    """A new network with every parameter of the checkpoint `initial` that fits.

    Layers beyond the checkpoint's add nothing at first, so that a deeper network begins as the shallow one (as in
    progressive stacking, Gong et al. 2019, but there the new layers are copies of the old).
    """
    torch.manual_seed(config.seed)
    network = FaceFormer(config, outputs)
    have, found = network.state_dict(), checkpoints.load(initial)["average"]
    fitting = {key: value for key, value in found.items() if key in have and have[key].shape == value.shape}
    left = [key for key in found if key not in fitting]
    network.load_state_dict(fitting, strict=False)
    for number, layer in enumerate(network.audio_encoder.encoder.layers):
        if f"audio_encoder.encoder.layers.{number}.layer_norm.weight" not in fitting:
            for last in (layer.attention.out_proj, layer.feed_forward.output_dense):
                nn.init.zeros_(last.weight)
                nn.init.zeros_(last.bias)
    without = f", without what fits nowhere: {', '.join(left[:4])}{' …' * (len(left) > 4)}" if left else ""
    tqdm.write(f"{len(fitting)} of {len(have)} arrays taken from {initial}{without}")
    return network


def build(config: Config, corpus: Corpus, initial: Path | None) -> FaceFormer:
    """The network that training begins with: see `grown`, or without `initial` one that rests in the mean face."""
    if initial:
        return grown(config, len(corpus.names), initial)
    torch.manual_seed(config.seed)
    network = FaceFormer(config, len(corpus.names))
    some = [corpus.clips[i].weights[0] for i in corpus.choose("train")[::20]]
    network.decoder.vertice_map_r.bias.data = torch.tensor(np.concatenate(some).astype(np.float32).mean(0))
    return network


@dataclass
class Best:
    """The averaged network with the highest figure on development clips so far, and how long ago that was."""

    figure: float = -math.inf
    step: int = 0
    average: dict[str, Tensor] | None = None
    since: int = 0  # evaluations

    def offer(self, figure: float, step: int, average: nn.Module) -> None:
        """Keep a copy of `average` if it is better than all before, by more than rounding does."""
        if figure > self.figure + 1e-4:
            state = {name: value.clone() for name, value in average.state_dict().items()}
            self.figure, self.step, self.average, self.since = figure, step, state, 0
        else:
            self.since += 1


def train(
    config: Config, corpus: Corpus, run: Path, semantics: np.ndarray | None = None, initial: Path | None = None,
    processes: int = 0, every: float = 3.0, patience: int = 0,
) -> FaceFormer:  # fmt: skip
    """Train until the schedule ends, resuming from run/last.pt; evaluate and save every `every` minutes.

    With config.steps that happens `EVALUATIONS` times instead, so that a run can be repeated by its seed. Stops early
    when `patience` (0: never) evaluations in a row were no better, by the mean correlation of the opening on clips that
    no report judges by (`corpus.clips.watched`). Returns the best averaged network.
    """
    run.mkdir(parents=True, exist_ok=True)
    accelerator = Accelerator(mixed_precision="bf16", cpu=not torch.cuda.is_available())
    network = build(config, corpus, initial)
    average = copy.deepcopy(network).eval()
    optimisers = optimisers_of(network)
    step, before, heard, best = 0, 0.0, 0.0, Best()
    if (run / "last.pt").exists():
        state = checkpoints.load(run / "last.pt")
        network.load_state_dict(state["network"])
        average.load_state_dict(state["average"])
        for optimiser, kept in zip(optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(kept)
        step, before, heard = state["step"], state["elapsed"], state.get("heard", 0.0)
        best = Best(**state.get("best", {}))
    network, *optimisers = accelerator.prepare(network, *optimisers)
    averages = [average]  # the last one teaches; it is evaluated on the CPU, wherever the training is
    if config.clean_weight and accelerator.device.type != "cpu":
        averages.append(copy.deepcopy(average).to(accelerator.device))
    losses = LipLoss(lip_geometry(corpus.names), config.phone_weight, config.closure_weight).to(accelerator.device)
    filters = warped_filters(config.bands).to(accelerator.device)
    stream = BatchStream(ExampleMaker(corpus, config, semantics=semantics), config, step, accelerator.process_index)
    writer, watched = SummaryWriter(str(run)), development_clips(corpus, 40)
    tqdm.write(f"{count_parameters(network) / 1e6:.2f} M parameters, from step {step}")
    started, saved, reported, heard_before = time.monotonic(), time.monotonic(), step, heard
    bar = tqdm(total=100, unit="%", bar_format="{l_bar}{bar}| {elapsed} {postfix}", mininterval=5)
    bar.disable = not accelerator.is_main_process

    def report(elapsed: float) -> None:
        figures: dict[str, Any] = {
            "step": step,
            "minutes": round(elapsed / 60, 2),
            "hours_heard": round(heard / 3600, 2),
        }
        openings = []
        for name, clips in watched.items():
            found = evaluate(average, corpus, clips, semantics)
            figures |= {f"{name}/{key}": round(value, 4) for key, value in found.items()}
            openings.append(found["aperture_r"])
            for key, value in found.items():
                writer.add_scalar(f"{name}/{key}", value, step)
        if openings:
            best.offer(float(np.mean(openings)), step, average)
        tqdm.write(as_json(figures))
        with (run / "log.jsonl").open("a") as log:
            log.write(as_json(figures) + "\n")
        plain_network = accelerator.unwrap_model(network)
        checkpoints.save(run / "last.pt", {
            "config": config.to_dict(), "names": list(corpus.names), "network": plain_network.state_dict(),
            "average": average.state_dict(), "optimisers": [each.state_dict() for each in optimisers], "step": step,
            "elapsed": elapsed, "heard": heard, "best": vars(best),
        })  # fmt: skip

    network.train()
    for batch in loader(stream, processes):
        # One process' clock and judgement are everybody's, or they would not stop at the same step.
        stale = float(0 < patience <= best.since)
        clock = torch.tensor([before + time.monotonic() - started, stale], device=accelerator.device)
        elapsed, enough = broadcast(clock).tolist()
        progress = step / config.steps if config.steps else elapsed / (config.minutes * 60)
        if progress >= 1 or enough:
            break
        for group in (group for each in optimisers for group in each.param_groups):
            group["lr"] = learning_rate(progress, config)
        accelerator.unwrap_model(network).audio_encoder.hear_every(batch.step)
        batch = Batch(**{name: value.to(accelerator.device) for name, value in vars(batch).items()})
        # What is dropped at a step follows from its number, so that a resumed training goes the same way.
        dropped = np.random.SeedSequence((config.seed, step, accelerator.process_index))
        torch.manual_seed(int(dropped.generate_state(1)[0]))
        with accelerator.autocast():
            terms = forward_loss(network, losses, batch, filters, averages[-1] if config.clean_weight else None)
        accelerator.backward(terms["total"])
        accelerator.clip_grad_norm_(network.parameters(), 1.0)
        for optimiser in optimisers:
            optimiser.step()
            optimiser.zero_grad()
        step += 1
        heard += seconds_of(batch) * accelerator.num_processes
        for each in averages:
            update_average(each, accelerator.unwrap_model(network), config.ema, step)
        if not accelerator.is_main_process:
            continue
        if step % 20 == 0:
            for name, value in terms.items():
                writer.add_scalar(f"loss/{name}", float(value.detach()), step)
            bar.n = round(100 * progress)
            pace = (heard - heard_before) / (time.monotonic() - started)
            bar.set_postfix_str(f"step {step}, loss {float(terms['total'].detach()):.2f}, {pace:.0f}x")
        between = max(1, config.steps // EVALUATIONS)
        if step % between == 0 if config.steps else time.monotonic() - saved > every * 60:
            report(elapsed)
            saved, reported = time.monotonic(), step
    if accelerator.is_main_process:
        if reported != step or not (run / "last.pt").exists():
            report(before + time.monotonic() - started)
        if best.average is not None and best.step != step:
            tqdm.write(f"The network of step {best.step} was better ({best.figure:.4f}) and is the one that is kept.")
            average.load_state_dict(best.average)
            state = checkpoints.load(run / "last.pt")
            checkpoints.save(run / "last.pt", state | {"average": best.average})
    writer.close()
    return average


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--profile", choices=PROFILES, default="cpu")
    parser.add_argument("--folder", type=Path, default=Path("training/runs/main"), help="where checkpoints and logs go")
    add_corpus_options(parser)
    parser.add_argument(
        "--wav2sem", type=checkpoints.branch, help="checkpoint of training.wav2sem; without it the branch is left out"
    )
    parser.add_argument("--labels", type=Path, help="labels of training.label for real speech that nobody aligned")
    parser.add_argument(
        "--initial", type=checkpoints.lips, help="checkpoint to start from, with its layers or with more"
    )
    parser.add_argument("--processes", type=int, default=0, help="processes that make batches")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--every", type=float, default=3.0, help="minutes between evaluations")
    parser.add_argument("--patience", type=int, default=0, help="evaluations without progress that end the training")
    for field in (
        "minutes",
        "rate",
        "crop",
        "real_share",
        "ema",
        "dropout",
        "nonspeech_share",
        "babble_share",
        "dense_share",
        "phone_weight",
        "closure_weight",
        "clean_weight",
    ):
        parser.add_argument(f"--{field.replace('_', '-')}", type=float)
    for field in ("steps", "seed", "batch", "hidden", "layers", "semantic", "passes"):
        parser.add_argument(f"--{field}", type=int)
    parser.add_argument("--front-end", choices=("mel", "wave"))
    given = vars(parser.parse_args())
    plumbing = "profile folder cache real wav2sem labels initial processes threads every patience"
    options = {key: given.pop(key) for key in plumbing.split()}
    if options["wav2sem"] is None:
        given["semantic"] = 0
    if options["initial"]:
        shape = checkpoints.config_of(options["initial"])
        given |= {name: getattr(shape, name) for name in SHAPE if given.get(name) is None}
    config = profile(options["profile"], **given)
    if (last := options["folder"] / "last.pt").exists():
        state = checkpoints.load(last)
        if "optimisers" not in state:
            parser.error(
                f"{last} is a network, and no training to go on with; give it as --initial, and another --folder."
            )
        kept = Config(**state["config"])
        if other := [name for name in (*SHAPE, "semantic") if getattr(kept, name) != getattr(config, name)]:
            parser.error(f"{last} has another {', '.join(other)}; give the same again, or another --folder.")
    torch.set_num_threads(options["threads"])
    with PartialState(cpu=not torch.cuda.is_available()).main_process_first():
        corpus = open_corpus(parser, options["cache"], options["real"])
        semantics = sentence_vectors(options["wav2sem"], corpus, options["cache"]) if options["wav2sem"] else None
    if options["labels"]:
        try:
            corpus = with_labels(corpus, options["labels"])
        except (OSError, LookupError, TypeError, ValueError) as error:
            parser.error(f"“{options['labels']}” holds no labels ({error}); make them with training.label")
    pace = {name: options[name] for name in ("processes", "every", "patience")}
    train(config, corpus, options["folder"], semantics, options["initial"], **pace)


if __name__ == "__main__":
    main()
