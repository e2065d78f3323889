"""The optimizers of a stage: one learning rate per part, no weight decay on vectors.

AdamW is what the released scripts use. Muon, for the matrices of the layers, took half of AdamW's steps where a
model is trained from nothing (ov-tiny, docs/log.md). Knows no schedule: `schedule.py` scales `peak_lr`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ovexport.train.loop.parameters import part_of, trainable

if TYPE_CHECKING:
    from ovexport.train.recipe.recipe import Recipe

Optimizers = tuple[torch.optim.Optimizer, ...]
_ADAM_SHARE = 0.5  # of Muon's rate, for what Muon does not train


def make_optimizers(model: nn.Module, recipe: Recipe) -> Optimizers:
    """One or two optimizers over the trainable parameters; every group has a "name" and a "peak_lr"."""
    return _MAKERS[recipe.optimizer](model, recipe)


def set_learning_rates(optimizers: Optimizers, factor: float) -> None:
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["peak_lr"] * factor


def learning_rates(optimizers: Optimizers) -> dict[str, float]:
    """The rate in force of each part that is trained."""
    groups = (group for optimizer in reversed(optimizers) for group in optimizer.param_groups)
    return {group["name"].split(".")[0]: group["lr"] for group in groups}


def _adamw(model: nn.Module, recipe: Recipe) -> Optimizers:
    groups = _groups(model, recipe, lambda name, parameter: True, 1.0)
    return (torch.optim.AdamW(groups, betas=recipe.betas, eps=recipe.eps),)


def _muon(model: nn.Module, recipe: Recipe) -> Optimizers:
    matrices = _groups(model, recipe, _is_layer_matrix, 1.0)
    rest = _groups(model, recipe, lambda name, parameter: not _is_layer_matrix(name, parameter), _ADAM_SHARE)
    adamw = torch.optim.AdamW(rest, betas=recipe.betas, eps=recipe.eps)
    return torch.optim.Muon(matrices, adjust_lr_fn="match_rms_adamw"), adamw


def _is_layer_matrix(name: str, parameter: nn.Parameter) -> bool:
    return parameter.ndim == 2 and "embed" not in name and "lm_head" not in name


def _groups(
    model: nn.Module, recipe: Recipe, wanted: Callable[[str, nn.Parameter], bool], lr_share: float
) -> list[dict[str, Any]]:
    groups: dict[str, dict[str, Any]] = {}
    for name, parameter in trainable(model):
        if not wanted(name, parameter):
            continue
        part = part_of(name)
        group_name = f"{part}.{'matrices' if parameter.ndim > 1 else 'vectors'}"
        peak_lr = lr_share * getattr(recipe, f"{part}_lr")
        decay = recipe.weight_decay if parameter.ndim > 1 else 0.0
        fresh = {"name": group_name, "params": [], "lr": peak_lr, "peak_lr": peak_lr, "weight_decay": decay}
        groups.setdefault(group_name, fresh)["params"].append(parameter)
    return list(groups.values())


_MAKERS: dict[str, Callable[[nn.Module, Recipe], Optimizers]] = {"adamw": _adamw, "muon": _muon}
