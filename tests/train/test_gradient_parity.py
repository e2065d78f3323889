"""Loss, gradients, parameter groups and 50 steps of training against transformers and torch, from the same weights.

The oracle is written from model.md 4.3 and the released scripts: transformers' model, loss and schedule, torch's
AdamW over two groups told apart by "vision_tower" in the name, torch's clipping. It shares no code with what it checks.
"""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch
from parity_batches import KINDS, Row, our_batch, random_rows, their_batch
from tiny_oracle import pair
from transformers import LlavaOnevisionForConditionalGeneration, get_cosine_schedule_with_warmup

from ovexport.checkpoint.layouts import detect_layout
from ovexport.model import OneVision
from ovexport.train.loop.optimizer import make_optimizers
from ovexport.train.loop.parameters import set_trainable
from ovexport.train.loop.step import batch_loss, train_step
from ovexport.train.recipe.recipe import Recipe
from ovexport.train.recipe.resolve import resolve

TOLERANCE = 1e-4
NORM_TOLERANCE = 5e-3  # rounding differences grow from step to step, and the norm shows them before the loss
STEPS, MICRO_BATCHES = 50, 2
PEAK_LR = 1e-3  # the released 1e-5 would hardly move these models in 50 steps
STAGES = ("stage1", "stage1.5", "stage2-si", "stage2-ov")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def models(seed: int) -> tuple[OneVision, LlavaOnevisionForConditionalGeneration]:
    """Every second pair caps AnyRes at one tile, so that maps of four are reduced bilinearly."""
    ours, theirs = pair(seed, sides=2, max_tiles=(9, 1)[seed % 2])
    return ours.train(), theirs.train()


def by_our_names(ours: OneVision, theirs: LlavaOnevisionForConditionalGeneration) -> dict[str, torch.nn.Parameter]:
    layout, parameters = detect_layout(theirs.state_dict()), dict(theirs.named_parameters())
    return {name: parameters[layout.file_name(name)] for name, _ in ours.named_parameters()}


def relative(got: float, expected: float) -> float:
    return abs(got - expected) / abs(expected)


def check_gradients(ours: OneVision, theirs: LlavaOnevisionForConditionalGeneration, label: str) -> None:
    expected = by_our_names(ours, theirs)
    for name, parameter in ours.named_parameters():
        gradient = expected[name].grad
        if "post_layernorm" in name:  # held, never used
            assert parameter.grad is None and gradient is None, f"{label}, {name}"
            continue
        assert parameter.grad is not None and gradient is not None, f"{label}, {name}"
        scale = gradient.abs().max()
        if name.startswith("vision_tower") and name.endswith("k_proj.bias"):
            # Without RoPE it shifts a row of scores as a whole: the true gradient is zero, and both sides have noise.
            weight_gradient = expected[name.replace("bias", "weight")].grad
            assert weight_gradient is not None
            scale = weight_gradient.abs().max()
        assert float((parameter.grad - gradient).abs().max() / scale) < TOLERANCE, f"{label}, {name}"


BATCHES = (*((kind,) * 3 for kind in KINDS[:3]), KINDS)


@pytest.mark.parametrize("kinds", BATCHES, ids="+".join)
@pytest.mark.parametrize("seed", range(4))
def test_loss_and_gradients(seed: int, kinds: tuple[str, ...]) -> None:
    ours, theirs = models(seed)
    rows = random_rows(ours.config, random.Random(f"{seed} {kinds}"), kinds)
    loss, expected = batch_loss(ours, our_batch(rows)), theirs(**their_batch(rows)).loss
    assert relative(float(loss.detach()), float(expected.detach())) < TOLERANCE, f"seed {seed}"
    loss.backward()
    expected.backward()
    check_gradients(ours, theirs, f"seed {seed}")


@pytest.mark.parametrize("seed", range(4))
def test_packed_rows_have_the_loss_and_gradients_of_padded_ones(seed: int) -> None:
    ours, theirs = models(seed)
    rng = random.Random(seed)
    rows = random_rows(ours.config, rng, [rng.choice(KINDS) for _ in range(4)] + ["image"])
    batch = our_batch(rows, packed=True)
    assert batch.needs_mask and batch.ids_BS.shape[0] == 1
    loss, expected = batch_loss(ours, batch), theirs(**their_batch(rows)).loss
    assert relative(float(loss.detach()), float(expected.detach())) < TOLERANCE, f"seed {seed}"
    loss.backward()
    expected.backward()
    check_gradients(ours, theirs, f"seed {seed}")


@pytest.mark.parametrize("seed", range(2))
def test_a_batch_of_text_gives_the_tower_zero_gradients(seed: int) -> None:
    """As released, where text comes with a blank picture, so that no engine waits for a gradient."""
    ours, theirs = models(seed)
    rows = random_rows(ours.config, random.Random(seed), ("text", "text"))
    loss, expected = batch_loss(ours, our_batch(rows)), theirs(**their_batch(rows)).loss
    assert relative(float(loss.detach()), float(expected.detach())) < TOLERANCE, f"seed {seed}"
    loss.backward()
    expected.backward()
    for name, parameter in ours.named_parameters():
        if name.startswith(("vision_tower.layers", "projector", "image_newline")):
            assert parameter.grad is not None and not parameter.grad.any(), f"seed {seed}, {name}"


@pytest.mark.parametrize("size", ["0.5b", "7b", "72b"])
@pytest.mark.parametrize("stage", STAGES)
def test_parameter_groups(stage: str, size: str) -> None:
    """What is trained, at which rate, without weight decay: by the names in transformers' model."""
    ours, theirs = models(0)
    recipe = resolve(stage, size).recipe
    set_trainable(ours, recipe.trainable)
    got = {
        id(parameter): (group["lr"], group["weight_decay"], group["betas"], group["eps"])
        for optimizer in make_optimizers(ours, recipe)
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    ours_by_name, theirs_by_name = dict(ours.named_parameters()), dict(theirs.named_parameters())
    layout = detect_layout(theirs_by_name)
    for name in theirs_by_name:
        own = layout.own_name(name)
        assert own
        assert got.pop(id(ours_by_name[own]), None) == released_group(stage, name), name
    assert not got


def released_group(stage: str, name: str) -> tuple[float, float, tuple[float, float], float] | None:
    """Learning rate, weight decay, betas and epsilon; None where it is frozen."""
    if "post_layernorm" in name or (stage == "stage1" and "multi_modal_projector" not in name):
        return None
    lr = 1e-3 if stage == "stage1" else 2e-6 if "vision_tower" in name else 1e-5
    return lr, 0.0, (0.9, 0.999), 1e-8


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """Of the oracle; the defaults are those of the released scripts but for the peak rate."""

    vision_share: float = 1 / 5
    warmup_ratio: float = 0.03
    max_norm: float = 1.0
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    over_tokens: bool = False


Curve = list[tuple[float, float]]  # loss and norm of the gradient


def their_curve(
    model: LlavaOnevisionForConditionalGeneration, steps: Sequence[Sequence[list[Row]]], settings: Settings
) -> Curve:
    tower = [parameter for name, parameter in model.named_parameters() if "vision_tower" in name]
    rest = [parameter for name, parameter in model.named_parameters() if "vision_tower" not in name]
    optimizer = torch.optim.AdamW(
        [{"params": tower, "lr": PEAK_LR * settings.vision_share}, {"params": rest, "lr": PEAK_LR}],
        betas=settings.betas,
        eps=1e-8,
        weight_decay=settings.weight_decay,
    )
    schedule = get_cosine_schedule_with_warmup(optimizer, math.ceil(settings.warmup_ratio * STEPS), STEPS)
    curve = []
    for micro_batches in steps:
        # Not to None: the released engine (ZeRO-3) moves every parameter in every step, text or not.
        optimizer.zero_grad(set_to_none=False)
        loss = torch.stack([their_loss(model, rows, micro_batches, settings) for rows in micro_batches]).sum()
        if loss.requires_grad:  # not of text in stage 1
            loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), settings.max_norm)
        optimizer.step()
        schedule.step()
        curve.append((float(loss.detach()), float(norm)))
    return curve


def their_loss(
    model: LlavaOnevisionForConditionalGeneration, rows: list[Row], step: Sequence[list[Row]], settings: Settings
) -> torch.Tensor:
    """A micro-batch's share of the step: the mean of means, or transformers' `num_items_in_batch`."""
    if not settings.over_tokens:
        return model(**their_batch(rows)).loss / len(step)
    learned = sum(label != -100 for rows in step for row in rows for label in row.labels[1:])
    return model(**their_batch(rows), num_items_in_batch=learned).loss


def our_curve(model: OneVision, steps: Sequence[Sequence[list[Row]]], recipe: Recipe, *, packed: bool = False) -> Curve:
    set_trainable(model, recipe.trainable)
    model.vision_tower.recompute = model.language_model.recompute = recipe.recompute
    optimizers = make_optimizers(model, recipe)
    curve = []
    for step, micro_batches in enumerate(steps):
        batches = [our_batch(rows, packed=packed) for rows in micro_batches]
        result = train_step(model, optimizers, batches, recipe, step=step, total_steps=STEPS)
        curve.append((result.loss, result.grad_norm))
    return curve


def training_steps(model: OneVision, seed: int, count: int = STEPS) -> list[list[list[Row]]]:
    """Micro-batches of two rows out of a few, so that the loss comes down; an image first, so that all is moved."""
    rng = random.Random(seed)
    pool = [random_rows(model.config, rng, (kind, rng.choice(KINDS))) for kind in (*KINDS, "text")]
    pool.append(random_rows(model.config, rng, ("text", "text")))
    steps = [[rng.choice(pool) for _ in range(MICRO_BATCHES)] for _ in range(count)]
    steps[0][0] = pool[0]
    return steps


def released_recipe(**changes: Any) -> Recipe:
    """Of the last stage, with all rates as many times higher as the language model's."""
    recipe = resolve("stage2-ov", "7b").recipe
    times = PEAK_LR / recipe.language_lr
    rates = {name: times * getattr(recipe, name) for name in ("language_lr", "projector_lr", "vision_lr")}
    return dataclasses.replace(recipe, precision="fp32", **rates, **changes)


@pytest.mark.parametrize(
    ("seed", "loss_mean", "packed", "recompute"),
    [(5, "micro-batch", False, True), (8, "micro-batch", True, False), (4, "tokens", False, False)],
)
def test_curve_of_50_steps(seed: int, loss_mean: str, packed: bool, recompute: bool) -> None:
    ours, theirs = models(seed)
    steps = training_steps(ours, seed)
    expected = their_curve(theirs, steps, Settings(over_tokens=loss_mean == "tokens"))
    got = our_curve(ours, steps, released_recipe(loss_mean=loss_mean, recompute=recompute), packed=packed)
    for step, ((loss, norm), (their_loss_, their_norm)) in enumerate(zip(got, expected, strict=True)):
        assert relative(loss, their_loss_) < TOLERANCE, f"seed {seed}, step {step}"
        assert relative(norm, their_norm) < NORM_TOLERANCE, f"seed {seed}, step {step}"
    first, last = (sum(loss for loss, _ in part) for part in (got[:10], got[-10:]))
    assert last < 0.9 * first  # a curve that goes nowhere would prove little


WRONG = {
    "vision at the full rate": Settings(vision_share=1.0),
    "no warm-up": Settings(warmup_ratio=0.0),
    "longer warm-up": Settings(warmup_ratio=0.1),
    "no clipping": Settings(max_norm=1e9),
    "another beta": Settings(betas=(0.9, 0.95)),
    "weight decay": Settings(weight_decay=0.1),
    "mean over tokens": Settings(over_tokens=True),
}


@pytest.fixture(scope="module")
def start_of_a_curve() -> tuple[list[list[list[Row]]], Curve]:
    torch.set_num_threads(1)
    ours, _ = models(4)
    steps = training_steps(ours, 4, count=10)
    return steps, our_curve(ours, steps, released_recipe(recompute=False))


@pytest.mark.parametrize("name", ["as released", *WRONG])
def test_ten_steps_show_any_wrong_setting(name: str, start_of_a_curve: tuple[Any, Curve]) -> None:
    """The comparison above has the power to tell."""
    steps, got = start_of_a_curve
    expected = their_curve(models(4)[1], steps, WRONG.get(name, Settings()))
    worst = max(relative(loss, theirs) for (loss, _), (theirs, _) in zip(got, expected, strict=True))
    assert worst > TOLERANCE if name in WRONG else worst < TOLERANCE / 10


@pytest.mark.parametrize("seed", [0, 5])
def test_stage_1_moves_the_projector_alone(seed: int) -> None:
    """As the oracle moves it; all else is what it was, bit for bit."""
    ours, theirs = models(seed)
    before = {name: parameter.detach().clone() for name, parameter in ours.named_parameters()}
    steps = training_steps(ours, seed, count=8)
    recipe = dataclasses.replace(resolve("stage1", "7b").recipe, precision="fp32")
    assert recipe.projector_lr == PEAK_LR
    for name, parameter in theirs.named_parameters():
        parameter.requires_grad_("multi_modal_projector" in name)
    expected = their_curve(theirs, steps, Settings())
    got = our_curve(ours, steps, recipe)
    for step, ((loss, _), (their_loss_, _)) in enumerate(zip(got, expected, strict=True)):
        assert relative(loss, their_loss_) < TOLERANCE, f"seed {seed}, step {step}"
    for name, parameter in ours.named_parameters():
        assert torch.equal(parameter, before[name]) == (not name.startswith("projector")), f"seed {seed}, {name}"
