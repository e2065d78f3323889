"""The training of ov-tiny's tower: it learns, and a run that was cut short goes on to the same weights."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from ovexport.model import VisionTower
from ovexport.train.tiny import train_tower as module
from ovexport.train.tiny.config import fresh_model, tiny_config, tiny_geometry
from ovexport.train.tiny.tokenizer import SPECIALS
from ovexport.train.tiny.tower import PatchHeads, tower_batch, tower_loss
from ovexport.train.tiny.train_tower import TowerRecipe, train_tower

RECIPE = TowerRecipe(steps=7, batch_views=4, save_every=2, workers=0)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def new_tower(seed: int) -> VisionTower:
    """The shipped one with a single layer."""
    config = tiny_config({name: number for number, name in enumerate(SPECIALS)})
    vision = dataclasses.replace(config.vision, num_layers=1)
    return fresh_model(dataclasses.replace(config, vision=vision), seed).vision_tower


def trained(tower: VisionTower, out: Path) -> dict[str, torch.Tensor]:
    train_tower(tower, tiny_geometry(), out, RECIPE)
    return tower.state_dict()


def test_a_stopped_run_goes_on_to_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = trained(new_tower(0), tmp_path / "whole")
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        calls = iter(range(5))

        def stopping_loss(*args: object) -> torch.Tensor:
            if next(calls) == 4:
                raise KeyboardInterrupt
            return tower_loss(*args)  # type: ignore[arg-type]

        patched.setattr(module, "tower_loss", stopping_loss)
        trained(new_tower(0), tmp_path / "stopped")
    finished = trained(new_tower(9), tmp_path / "stopped")  # other weights, all to be replaced
    fresh = new_tower(0).state_dict()
    for name, value in whole.items():
        assert torch.equal(value, finished[name]), name
    assert sum(not torch.equal(value, fresh[name]) for name, value in whole.items()) > 10


def test_a_batch_can_be_learned() -> None:
    tower = new_tower(0)
    heads = PatchHeads(tower.config.hidden)
    batch = tower_batch(("sign", "shapes"), tiny_geometry(), "same", 4)
    optimizer = torch.optim.AdamW([*tower.parameters(), *heads.parameters()], lr=3e-3)
    losses = []
    for _ in range(25):
        optimizer.zero_grad()
        loss = tower_loss(tower, heads, *batch)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.6 * losses[0], losses
