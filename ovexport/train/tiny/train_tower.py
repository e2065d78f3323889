"""Trains the tower of ov-tiny on what lies where in drawings, resumable: the place of a published SigLIP.

Joins tower.py with the loop's optimizers, schedule, state and metrics. The batch of a step depends on seed and step
alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from ovengines.bundle.manifest import Geometry
from ovexport.model import VisionTower
from ovexport.train.drawn.kinds import MULTI_IMAGE, SINGLE_IMAGE, VIDEO
from ovexport.train.loop.metrics import Metrics
from ovexport.train.loop.optimizer import Optimizers, set_learning_rates
from ovexport.train.loop.parallel import ONE_PROCESS
from ovexport.train.loop.schedule import learning_rate_factor
from ovexport.train.loop.state import latest_state, load_state, save_state
from ovexport.train.tiny.tower import PatchHeads, tower_batch, tower_loss

# Characters take longest to learn, so most pictures have some.
_KINDS = (*SINGLE_IMAGE, "small-text", "small-text", "sign", "table", *MULTI_IMAGE, *VIDEO)


@dataclass(frozen=True, kw_only=True)
class TowerRecipe:
    seed: int = 0
    steps: int = 9000
    batch_views: int = 32
    lr: float = 5e-3
    adam_share: float = 0.5
    weight_decay: float = 0.05
    warmup_ratio: float = 0.02
    final_lr_ratio: float = 0.01
    save_every: int = 200
    workers: int = 1


class _Batches(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    def __init__(self, recipe: TowerRecipe, geometry: Geometry) -> None:
        self.recipe, self.geometry = recipe, geometry

    def __len__(self) -> int:
        return self.recipe.steps

    def __getitem__(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        return tower_batch(_KINDS, self.geometry, f"tower {self.recipe.seed} {step}", self.recipe.batch_views)


def train_tower(tower: VisionTower, geometry: Geometry, out: Path, recipe: TowerRecipe) -> None:
    """Train `tower` in place, or go on where a run in `out` stopped."""
    torch.manual_seed(recipe.seed)
    heads = PatchHeads(tower.config.hidden)
    both = nn.ModuleDict({"tower": tower, "heads": heads}).train()
    if hasattr(tower, "post_layernorm"):
        tower.post_layernorm.requires_grad_(False)
    optimizers = _optimizers(both, recipe)
    path = latest_state(out)
    first = load_state(path, both, optimizers, ONE_PROCESS) if path else 0
    out.mkdir(parents=True, exist_ok=True)
    numbers = range(first, recipe.steps)
    loader = DataLoader(_Batches(recipe, geometry), batch_size=None, sampler=numbers, num_workers=recipe.workers)
    with Metrics(out, "tower", total_steps=recipe.steps, first_step=first, enabled=True, quiet=False) as metrics:
        for step, (pixels_NCHW, labels_NP23) in zip(numbers, loader, strict=True):
            factor = learning_rate_factor(step, recipe.steps, recipe.warmup_ratio, recipe.final_lr_ratio)
            set_learning_rates(optimizers, factor)
            for optimizer in optimizers:
                optimizer.zero_grad(set_to_none=True)
            loss = tower_loss(tower, heads, pixels_NCHW, labels_NP23)
            loss.backward()
            norm = nn.utils.clip_grad_norm_(both.parameters(), 1.0)
            for optimizer in optimizers:
                optimizer.step()
            views = pixels_NCHW.shape[0] * labels_NP23.shape[1]
            metrics.report(step, loss=float(loss.detach()), num_tokens=views, grad_norm=float(norm))
            if (step + 1) % recipe.save_every == 0 or step + 1 == recipe.steps:
                save_state(out, both, optimizers, step + 1, ONE_PROCESS)


def _optimizers(both: nn.Module, recipe: TowerRecipe) -> Optimizers:
    groups: dict[str, list[nn.Parameter]] = {"muon": [], "matrices": [], "vectors": []}
    for name, parameter in both.named_parameters():
        if parameter.requires_grad:
            in_layer = parameter.ndim == 2 and "embed" not in name and not name.startswith("heads")
            groups["muon" if in_layer else "matrices" if parameter.ndim > 1 else "vectors"].append(parameter)
    muon = torch.optim.Muon(
        [{"params": groups["muon"], "peak_lr": recipe.lr, "name": "muon"}],
        weight_decay=recipe.weight_decay, adjust_lr_fn="match_rms_adamw",
    )  # fmt: skip
    adam = [
        {"params": groups[name], "peak_lr": recipe.lr * recipe.adam_share, "weight_decay": decay, "name": name}
        for name, decay in (("matrices", recipe.weight_decay), ("vectors", 0.0))
    ]
    return muon, torch.optim.AdamW(adam, betas=(0.9, 0.98))
