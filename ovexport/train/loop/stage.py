"""A stage of training, from its start checkpoint to its own: what `ovexport train STAGE` runs.

Joins recipe, data, model, processes and state; each is a module of its name. Everything that the stage writes is in
its folder: states/, metrics.jsonl, tensorboard/, skipped.jsonl, and checkpoint/ at the end.
"""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import nn

from ovengines.errors import ExitCode, OVError
from ovexport.checkpoint import save_checkpoint
from ovexport.model import OneVision, OneVisionConfig
from ovexport.progress import Bars
from ovexport.train.data.dataset import TrainingSet
from ovexport.train.data.grouping import epoch_batches
from ovexport.train.data.mixture import load_mixture
from ovexport.train.data.spec import SampleSpec, training_geometry
from ovexport.train.loop.endings import told_endings
from ovexport.train.loop.lengths import Lengths, sample_lengths
from ovexport.train.loop.loader import step_batches
from ovexport.train.loop.metrics import Metrics
from ovexport.train.loop.optimizer import Optimizers, learning_rates, make_optimizers
from ovexport.train.loop.parallel import Processes, is_first_process, join_processes
from ovexport.train.loop.parameters import set_trainable
from ovexport.train.loop.record import STATES, check_same_recipe, is_finished, write_training
from ovexport.train.loop.skips import FILES as SKIPPED
from ovexport.train.loop.skips import SkipList
from ovexport.train.loop.start import CHECKPOINT, TRAINING_FILE, Source, open_start, stage_folder
from ovexport.train.loop.state import forget_states, latest_state, load_state, save_state, state_path, step_of
from ovexport.train.loop.step import train_step
from ovexport.train.loop.weights import empty_model, fill
from ovexport.train.recipe.recipe import Recipe
from ovrun.log import logger

_DRAWN = "drawn/"  # how the mixtures of ov-tiny's recipes begin
_DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}
_OF_SAMPLES = ("template", "labels", "turns", "merge", "aspect_ratio", "max_length", "max_frames", "video_fps")


@dataclass(frozen=True, kw_only=True)
class Run:
    """How and where a stage is run; none of it changes what is learned.

    `data_root` is where relative paths of a mixture start, by default beside its file. `origins` says where each value
    of the recipe comes from, for training.json.
    """

    runs: Path
    out: Path | None = None
    start: str | None = None
    any_stage: bool = False
    resume: bool = True
    parallel: str = "auto"
    device: str = "auto"
    origins: Mapping[str, str] = dataclasses.field(default_factory=dict)
    data_root: Path | None = None
    quiet: bool = False


def run_stage(recipe: Recipe, run: Run) -> Path:
    """Train the stage, or go on where it stopped; returns the folder of its checkpoint.

    Raises OVError: BAD_INPUT for data or a checkpoint that don't fit, USAGE for a number of processes that does not
    divide the batch and for another recipe than that of the state to go on from, LIMIT_EXCEEDED for a full disk; what
    was saved before stays.
    """
    out = run.out or stage_folder(run.runs, recipe.size, recipe.stage)
    if not is_first_process():
        logger.setLevel(logging.ERROR)
    if run.resume:
        check_same_recipe(out, recipe)
        if is_finished(out):
            logger.info("%s is finished: nothing to do", out)
            return out / CHECKPOINT
    with told_endings(out / STATES):
        _run(recipe, run, out)
    return out / CHECKPOINT


def _run(recipe: Recipe, run: Run, out: Path) -> None:
    torch.manual_seed(recipe.seed)
    mixture = load_mixture(find_data(recipe, run.runs), root=run.data_root, seed=recipe.seed)
    source = open_start(recipe, run.runs, run.start, any_stage=run.any_stage)
    config = stage_config(source.config, recipe)
    empty = prepared_model(config, recipe)
    processes = join_processes(run.parallel, run.device, sum(p.numel() * p.itemsize for p in empty.parameters()))
    try:
        processes.barrier()  # the first holds what the others join by: it must not end while one is still joining
        check_world(recipe, processes)
        samples = TrainingSet(mixture, sample_spec(recipe, config, source))
        bars = Bars(quiet=run.quiet or not processes.is_first)
        steps = plan_steps(recipe, sample_lengths(recipe.grouping, samples, out, processes, bars))
        model = processes.wrap(empty, recipe.precision, partial(fill, source=source, device=processes.device))
        optimizers = make_optimizers(processes.unwrapped(model), recipe)  # parts go by name, and DDP's have a prefix
        first = resume(out, model, optimizers, processes) if run.resume else start_anew(out, processes)
        if processes.is_first:
            write_training(out, recipe, run.origins, len(steps))
        train(model, optimizers, samples, steps, recipe, out, first, processes, quiet=run.quiet)
        write_checkpoint(processes.unwrapped(model), out, source, processes, recipe.precision)
    finally:
        processes.close()


def find_data(recipe: Recipe, runs: Path) -> str:
    """The recipe's mixture; ov-tiny's are drawn into the folder of its runs, else OVError (BAD_INPUT)."""
    drawn = runs / recipe.size / recipe.data
    if drawn.is_file():
        return str(drawn)
    if recipe.data.startswith(_DRAWN) and not Path(recipe.data).is_file():
        raise OVError(ExitCode.BAD_INPUT, f"{drawn} is not there", f"draw it: ovexport data draw {drawn.parent}")
    return recipe.data


def stage_config(config: OneVisionConfig, recipe: Recipe) -> OneVisionConfig:
    """The model's geometry while and after this stage; stage 1 (square pictures) leaves it as it was."""
    geometry = training_geometry(config.geometry, recipe.aspect_ratio, recipe.grid_pinpoints)
    return dataclasses.replace(config, geometry=geometry)


def sample_spec(recipe: Recipe, config: OneVisionConfig, source: Source) -> SampleSpec:
    """What of the recipe concerns single samples, with the tokenizer of the checkpoint."""
    return SampleSpec(
        tokenizer=Tokenizer.from_str(source.tokenizer_json.decode()),
        image_token_id=config.image_token_id,
        video_token_id=config.video_token_id,
        geometry=config.geometry,
        **{name: getattr(recipe, name) for name in _OF_SAMPLES},
    )


def check_world(recipe: Recipe, processes: Processes) -> None:
    per_pass = recipe.device_batch * processes.size
    if recipe.global_batch % per_pass:
        raise OVError(
            ExitCode.USAGE,
            f"a global batch of {recipe.global_batch} does not divide into {processes.size} processes"
            f" of {recipe.device_batch} samples",
            "change --device-batch, --global-batch or the number of processes",
        )
    if processes.mode == "fsdp" and recipe.optimizer == "muon":
        raise OVError(
            ExitCode.USAGE, "Muon needs whole matrices, which FSDP cuts", "give --optimizer adamw, or --parallel ddp"
        )


def plan_steps(recipe: Recipe, lengths_N: Lengths) -> list[list[list[int]]]:
    """Steps -> micro-batches -> samples, of all epochs: a pure function of lengths, recipe and seed."""
    steps: list[list[list[int]]] = []
    for epoch in range(math.ceil(recipe.epochs)):
        steps += epoch_batches(
            lengths_N, global_batch=recipe.global_batch, device_batch=recipe.device_batch, seed=recipe.seed,
            epoch=epoch, mode=recipe.grouping, drop_last=recipe.drop_last, max_length=recipe.max_length,
        )  # fmt: skip
        if recipe.max_steps and len(steps) >= recipe.max_steps:
            break
    total = math.ceil(len(steps) * recipe.epochs / math.ceil(recipe.epochs))
    steps = steps[: min(total, recipe.max_steps or total)]
    if not steps:
        raise OVError(
            ExitCode.BAD_INPUT,
            f"{recipe.data} has {len(lengths_N)} samples, too few for one step of {recipe.global_batch}",
            "use more data, a smaller --global-batch, or --drop-last false",
        )
    return steps


def prepared_model(config: OneVisionConfig, recipe: Recipe) -> OneVision:
    """Without storage; what is frozen is frozen before an engine for several devices looks at it."""
    model = empty_model(config)
    set_trainable(model, recipe.trainable)
    model.train()
    model.vision_tower.recompute = model.language_model.recompute = recipe.recompute
    return model


def resume(out: Path, model: nn.Module, optimizers: Optimizers, processes: Processes) -> int:
    """The step to go on with, 0 without a state."""
    latest = latest_state(out / STATES)
    step = processes.first_says(step_of(latest) if latest else 0)
    if step:
        load_state(state_path(out / STATES, step), model, optimizers, processes)
        logger.info("going on after step %d", step)
    return step


def start_anew(out: Path, processes: Processes) -> int:
    """Forget what an earlier run left, but for its checkpoint, which stays until there is another."""
    if processes.is_first:
        forget_states(out / STATES)
        for path in out.glob(SKIPPED):
            path.unlink()
    processes.barrier()
    return 0


def train(
    model: nn.Module,
    optimizers: Optimizers,
    samples: TrainingSet,
    steps: list[list[list[int]]],
    recipe: Recipe,
    out: Path,
    first: int,
    processes: Processes,
    *,
    quiet: bool,
) -> None:
    """Steps `first` to the end, with a state every `save_every` steps and after the last."""
    out.mkdir(parents=True, exist_ok=True)
    batches = step_batches(
        samples, steps, processes, first_step=first, pad_id=processes.unwrapped(model).config.pad_token_id,
        packed=recipe.grouping == "packed", workers=recipe.workers,
    )  # fmt: skip
    metrics = Metrics(
        out, recipe.stage, total_steps=len(steps), first_step=first, enabled=processes.is_first, quiet=quiet
    )
    with metrics, SkipList(out, processes) as skips:
        for step, micro_batches in enumerate(batches, start=first):
            result = train_step(
                model, optimizers, micro_batches, recipe, step=step, total_steps=len(steps), processes=processes,
                num_micro_batches=len(steps[step]),
            )  # fmt: skip
            num_skipped = skips.add(skip for batch in micro_batches for skip in batch.skipped)
            rates = {f"lr_{part}": rate for part, rate in learning_rates(optimizers).items()}
            metrics.report(
                step, loss=result.loss, num_tokens=result.num_tokens, grad_norm=result.grad_norm,
                skipped=num_skipped, **rates,
            )  # fmt: skip
            if (step + 1) % recipe.save_every == 0 or step + 1 == len(steps):
                metrics.flush()
                save_state(out / STATES, model, optimizers, step + 1, processes)


def write_checkpoint(model: OneVision, out: Path, source: Source, processes: Processes, precision: str) -> None:
    """The consolidated weights in the layout of transformers; every process takes part in gathering."""
    save_checkpoint(
        model, out / CHECKPOINT, dtype=_DTYPES[precision],
        tokenizer_json=source.tokenizer_json, chat_template=source.chat_template,
        extra_files={TRAINING_FILE: (out / TRAINING_FILE).read_bytes()} if processes.is_first else {},
        write=processes.is_first,
    )  # fmt: skip
    processes.barrier()
