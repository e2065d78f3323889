"""One step: the micro-batches of this process forward and backward, gradients clipped, optimizers moved.

Knows batches, a model (wrapped or not) and optimizers; no files, no data. Legend: N tiles, C channels, H W pixels,
B rows, S positions, T visual tokens.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.distributed.fsdp import FSDPModule

from ovexport.model import OneVision, visible_mask
from ovexport.model.onevision import IGNORE_LABEL
from ovexport.train.data.collate import Batch
from ovexport.train.loop.optimizer import Optimizers, set_learning_rates
from ovexport.train.loop.parallel import ONE_PROCESS, Processes
from ovexport.train.loop.rounding import int4_weights, rounded
from ovexport.train.loop.schedule import learning_rate_factor
from ovexport.train.recipe.recipe import Recipe
from ovrun.tiling.plan import SOURCES, TokenPlan


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """Of all processes: the mean loss of the micro-batches, and the norm of the gradient before clipping."""

    loss: float
    grad_norm: float
    num_tokens: int


def train_step(
    model: nn.Module,
    optimizers: Optimizers,
    micro_batches: Sequence[Batch],
    recipe: Recipe,
    *,
    step: int,
    total_steps: int,
    processes: Processes = ONE_PROCESS,
    num_micro_batches: int | None = None,
) -> StepResult:
    """Move the model by one step. `micro_batches` are those of this process; each process has as many.

    The loss is the mean over micro-batches of their mean over labels ("micro-batch", as released) or over exchanges,
    each the mean over its own labels ("exchanges"), or the mean over all labels of the step ("tokens").
    `num_micro_batches`: of the step and all processes, without idle ones; None if none is idle. Raises
    FloatingPointError, before the model is moved, when loss or gradient are not finite.
    """
    factor = learning_rate_factor(step, total_steps, recipe.warmup_ratio, recipe.final_lr_ratio)
    set_learning_rates(optimizers, factor)
    for optimizer in optimizers:
        optimizer.zero_grad(set_to_none=True)
    # The engines take the mean of the processes' gradients.
    share = processes.size / (num_micro_batches or processes.size * len(micro_batches))
    divisor = _tokens_divisor(micro_batches, processes) if recipe.loss_mean == "tokens" else None
    losses = []
    with _rounding(processes.unwrapped(model), recipe, step / total_steps):
        for number, batch in enumerate(micro_batches):
            last = number == len(micro_batches) - 1
            with processes.sync(model, last):
                loss = batch_loss(
                    model, batch.to(processes.device), recipe.precision, divisor, recipe.loss_mean == "exchanges"
                )
                (loss if divisor else loss * share).backward()
            losses.append(loss.detach())
    grad_norm = processes.clip_gradients(model, recipe.max_grad_norm)
    own_loss = float(torch.stack(losses).sum()) * (1 if divisor else share)
    loss_mean, num_tokens = processes.mean_and_sum(own_loss, sum(batch.num_tokens for batch in micro_batches))
    if not (math.isfinite(loss_mean) and math.isfinite(grad_norm)):
        raise FloatingPointError(f"step {step + 1} has a loss of {loss_mean} and a gradient of norm {grad_norm}")
    for optimizer in optimizers:
        optimizer.step()
    return StepResult(loss=loss_mean, grad_norm=grad_norm, num_tokens=int(num_tokens))


def batch_loss(
    model: nn.Module,
    batch: Batch,
    precision: str = "fp32",
    divisor: float | None = None,
    by_exchange: bool = False,
) -> torch.Tensor:
    """The loss of one micro-batch, with a graph. `divisor` as in `OneVision.forward`."""
    pixels_NCHW, plan = batch.pixels_NCHW, batch.plan
    if pixels_NCHW is None or plan is None:
        pixels_NCHW, plan = _blank_tile(model, batch.ids_BS.device)
    visible_B1SS = visible_mask(batch.sample_BS, batch.exchange_BS) if batch.needs_mask else None
    # FSDP's own policy casts weights and inputs; autocast on top would cast some back.
    by_autocast = precision == "bf16" and not isinstance(model, FSDPModule)
    with torch.autocast(batch.ids_BS.device.type, torch.bfloat16, enabled=by_autocast):
        output = model(
            batch.ids_BS, pixels_NCHW, [plan], labels_BS=batch.labels_BS, embed_index_BS=batch.embed_index_BS,
            positions_BS=batch.positions_BS, visible_B1SS=visible_B1SS, loss_divisor=divisor,
            label_weights_BS=exchange_weights(batch) if by_exchange else None, want_logits=False,
        )  # fmt: skip
    return output.loss


def exchange_weights(batch: Batch) -> torch.Tensor:
    """Weights [B, S] of the labels that make exchanges count alike, a word or a paragraph; a chained sample is one."""
    row_B1 = torch.arange(len(batch.ids_BS), device=batch.ids_BS.device)[:, None]
    owner_BS3 = torch.stack([row_B1.expand_as(batch.ids_BS), batch.sample_BS, batch.exchange_BS], dim=-1)
    _, owner_L = owner_BS3.flatten(0, 1).unique(dim=0, return_inverse=True)
    counted_L = (batch.labels_BS != IGNORE_LABEL).flatten()
    number_O = torch.bincount(owner_L[counted_L], minlength=int(owner_L.max()) + 1)
    return (counted_L / number_O[owner_L].clamp(min=1)).view_as(batch.ids_BS)


def _blank_tile(model: nn.Module, device: torch.device) -> tuple[torch.Tensor, TokenPlan]:
    """A tile that gives no token, for batches without media, as released: every part takes part in every step."""
    inner = model.module if hasattr(model, "module") else model
    assert isinstance(inner, OneVision)
    vision = inner.config.vision
    pixels_NCHW = torch.zeros(1, vision.num_channels, vision.image_size_px, vision.image_size_px, device=device)
    none_T4 = np.empty((0, SOURCES))
    plan = TokenPlan(
        indices_T4=none_T4.astype(np.int32), weights_T4=none_T4.astype(np.float32), num_tiles=1,
        patches_per_tile=vision.patches_per_side**2, grid=(0, 0), map_size=(0, 0),
    )  # fmt: skip
    return pixels_NCHW, plan


def _tokens_divisor(micro_batches: Sequence[Batch], processes: Processes) -> float:
    """Labels per process, on average: gradients of the processes are averaged afterwards."""
    mean, _ = processes.mean_and_sum(float(sum(batch.num_supervised for batch in micro_batches)), 0)
    return max(1.0, mean)


def _rounding(model: OneVision, recipe: Recipe, share: float) -> AbstractContextManager[None]:
    """The last share of a stage may see its language weights as int4 would hold them."""
    if share < 1 - recipe.rounded_share:
        return nullcontext()
    return rounded(int4_weights(model.language_model))
