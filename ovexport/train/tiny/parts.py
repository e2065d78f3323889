"""The ready-made parts that the stages start from, made here: a tower that sees and a language model that reads.

For real sizes these are published models; ov-tiny's learn from drawings: the tower what lies where (tower.py), the
language model to answer about captions, in place of pictures. Projector and newline stay random for the stages.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch
from tokenizers import Tokenizer

from ovexport.checkpoint import load_model, open_checkpoint, save_checkpoint
from ovexport.checkpoint.chat_template import builtin_template
from ovexport.model import OneVision
from ovexport.train.loop.stage import Run, run_stage
from ovexport.train.loop.start import CHECKPOINT, stage_folder
from ovexport.train.recipe import Recipe, resolve
from ovexport.train.tiny.config import fresh_model, tiny_config
from ovexport.train.tiny.tokenizer import train_tokenizer
from ovexport.train.tiny.train_tower import TowerRecipe, train_tower

SIZE = "tiny"
FRESH, TOWER, LANGUAGE, PARTS = "fresh", "tower", "language", "parts"


def folder(runs: Path, stage: str) -> Path:
    return stage_folder(runs, SIZE, stage) / CHECKPOINT


def make_fresh(runs: Path, seed: int = 0) -> None:
    """A checkpoint of random weights with the tokenizer of ov-tiny; one that is there is left alone."""
    place = folder(runs, FRESH)
    if not place.exists():
        tokenizer = train_tokenizer()
        _save(fresh_model(tiny_config(tokenizer.get_vocab()), seed), place, tokenizer)


def make_tower(runs: Path, recipe: TowerRecipe) -> None:
    """Train the tower of the fresh checkpoint; a finished one is left alone."""
    place = folder(runs, TOWER)
    if place.exists():
        return
    model = _open(runs, FRESH)
    train_tower(model.vision_tower, model.config.geometry, place.parent / "states", recipe)
    _save(model, place, _tokenizer(runs))


def language_recipe(runs: Path) -> Recipe:
    """As the single-image stage, but for text alone and the language model alone."""
    recipe = resolve("stage2-si", SIZE).recipe
    return dataclasses.replace(
        recipe, stage=LANGUAGE, start_from=FRESH, data=str(runs / SIZE / "drawn" / f"{LANGUAGE}.yaml"),
        trainable=("language",), max_steps=None, global_batch=16, device_batch=8, save_every=100,
        language_lr=2.5e-3,
    )  # fmt: skip


def make_language(runs: Path) -> None:
    """Train the language model of the fresh checkpoint; a finished one is left alone."""
    if not folder(runs, LANGUAGE).exists():
        run_stage(language_recipe(runs), Run(runs=runs, start=str(folder(runs, FRESH)), any_stage=True))


def join_parts(runs: Path) -> None:
    """The trained tower and the trained language model as the checkpoint that stage 1 starts from."""
    place = folder(runs, PARTS)
    if place.exists():
        return
    model = _open(runs, LANGUAGE)
    model.vision_tower.load_state_dict(_open(runs, TOWER).vision_tower.state_dict())
    _save(model, place, _tokenizer(runs))


def _open(runs: Path, stage: str) -> OneVision:
    return load_model(open_checkpoint(folder(runs, stage)), torch.float32).requires_grad_(True)


def _tokenizer(runs: Path) -> Tokenizer:
    return Tokenizer.from_str(open_checkpoint(folder(runs, FRESH)).tokenizer_json.decode())


def _save(model: OneVision, place: Path, tokenizer: Tokenizer) -> None:
    save_checkpoint(
        model, place, dtype=torch.float32, tokenizer_json=tokenizer.to_str(pretty=False).encode(),
        chat_template=builtin_template(has_video_token=True),
    )  # fmt: skip
