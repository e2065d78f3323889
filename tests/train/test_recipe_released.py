"""The recipes against what was released: the paper's table and the released scripts, typed again here."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from stage_sizes import STAGE_SIZES

from ovexport.train.recipe import resolve
from ovexport.train.recipe.kinds import KINDS
from ovexport.train.recipe.recipe import FIELDS, MEANINGS
from ovexport.train.recipe.sizes import SIZES
from ovexport.train.recipe.stages import STAGES

SIX_BY_SIX = tuple((i, j) for i in range(1, 7) for j in range(1, 7))

# The scripts' tables (7B), typed from them and not from stages.py.
COMMON: dict[str, Any] = {
    "epochs": 1.0,
    "max_steps": None,
    "optimizer": "adamw",
    "betas": (0.9, 0.999),
    "eps": 1e-8,
    "weight_decay": 0.0,
    "max_grad_norm": 1.0,
    "warmup_ratio": 0.03,
    "final_lr_ratio": 0.0,
    "loss_mean": "micro-batch",
    "labels": "released",
    "turns": "chained",
    "max_frames": 32,
    "video_fps": 1.0,
    "precision": "bf16",
    "recompute": True,
    "seed": 42,
    "rounded_share": 0.0,
}
LATER: dict[str, Any] = {
    **COMMON,
    "template": "qwen_1_5",
    "trainable": ("vision", "projector", "language"),
    "language_lr": 0.00001,
    "projector_lr": 0.00001,
    "vision_lr": 0.000002,
    "global_batch": 256,
    "grouping": "modality-length",
    "merge": "spatial_unpad",
    "max_length": 32768,
    "drop_last": True,
}
STAGE2: dict[str, Any] = {
    **LATER,
    "device_batch": 1,
    "aspect_ratio": "anyres_max_9",
    "grid_pinpoints": SIX_BY_SIX,
    "max_visual_tokens": 7290,
    "workers": 4,
    "save_every": 1000,
}
RELEASED: dict[str, dict[str, Any]] = {
    "stage1": {
        **COMMON,
        "start_from": "parts",
        "data": "stage1",
        "template": "plain",
        "trainable": ("projector",),
        "language_lr": 0.0,
        "projector_lr": 0.001,
        "vision_lr": 0.0,
        "global_batch": 512,
        "device_batch": 16,
        "grouping": "none",
        "aspect_ratio": "square",
        "merge": "flat",
        "grid_pinpoints": (),
        "max_visual_tokens": 729,
        "max_length": 8192,
        "workers": 16,
        "drop_last": False,
        "save_every": 500,
    },
    "stage1.5": {
        **LATER,
        "start_from": "stage1",
        "data": "stage1.5",
        "device_batch": 4,
        "aspect_ratio": "anyres",
        "grid_pinpoints": ((2, 1), (1, 2), (2, 2), (1, 3), (3, 1)),
        "max_visual_tokens": 3645,
        "workers": 16,
        "save_every": 3000,
    },
    "stage2-si": {**STAGE2, "start_from": "stage1.5", "data": "single_image"},
    "stage2-ov": {**STAGE2, "start_from": "stage2-si", "data": "onevision"},
}
BATCHES = {"0.5b": (512, 512, 512, 512), "7b": (512, 256, 256, 256), "72b": (512, 256, 256, 256)}


@pytest.mark.parametrize("stage", STAGES)
def test_7b_is_as_released(stage: str) -> None:
    values = dataclasses.asdict(resolve(stage, "7b").recipe)
    assert values == {"stage": stage, "size": "7b", **RELEASED[stage]}


@pytest.mark.parametrize("size", BATCHES)
def test_other_sizes_differ_in_batches_only(size: str) -> None:
    for stage, global_batch in zip(STAGES, BATCHES[size], strict=True):
        recipe = resolve(stage, size).recipe
        assert recipe.global_batch == global_batch, stage
        same = dataclasses.replace(resolve(stage, "7b").recipe, size=size, global_batch=global_batch)
        assert dataclasses.replace(recipe, device_batch=same.device_batch) == same, stage


@pytest.mark.parametrize(("stage", "size"), STAGE_SIZES)
def test_tower_has_one_fifth_of_the_language_models_rate(stage: str, size: str) -> None:
    recipe = resolve(stage, size).recipe
    if stage == "stage1":
        assert recipe.trainable == ("projector",)
        assert (recipe.vision_lr, recipe.language_lr) == (0, 0)
    else:
        assert recipe.trainable == ("vision", "projector", "language")
        assert recipe.vision_lr * 5 == pytest.approx(recipe.language_lr, rel=1e-12)


@pytest.mark.parametrize(("stage", "size"), STAGE_SIZES)
def test_every_value_has_an_origin_and_a_meaning(stage: str, size: str) -> None:
    resolved = resolve(stage, size)
    assert tuple(resolved.origins) == FIELDS == tuple(MEANINGS) == tuple(KINDS)
    assert all(len(origin) > 3 for origin in resolved.origins.values())
    for name, (value, origin) in {**STAGES[stage], **SIZES[size].get(stage, {})}.items():
        assert (getattr(resolved.recipe, name), resolved.origins[name]) == (value, origin)
    if size != "tiny":
        assert "ov-tiny" not in " ".join(resolved.origins.values())


def test_disagreements_are_told() -> None:
    """Where paper, scripts, code and checkpoints differ, the origin names both sides."""
    told = {
        ("stage1", "vision_lr"): ("1e-3", "frozen"),
        ("stage1", "max_length"): ("32768", "pretrain_siglip"),
        ("stage1", "merge"): ("image_newline", "stage 1.5"),
        ("stage1.5", "data"): ("4.8M", "4.7M", "mid_stage.yaml"),
        ("stage1.5", "start_from"): ("none is released",),
        ("stage1.5", "grid_pinpoints"): ("(width, height)", "a4"),
        ("stage2-si", "data"): ("3.24M", "3.15M", "3.6M"),
        ("stage2-si", "global_batch"): ("512", "256"),
        ("stage2-si", "loss_mean"): ("transformers 4.40", "newer"),
        ("stage2-si", "labels"): ("headers", "newlines"),
        ("stage2-si", "max_visual_tokens"): ("slack", "newlines"),
        ("stage2-ov", "data"): ("1.6M", "1.3M", "2M"),
        ("stage2-ov", "merge"): ("one newline", "per row"),
        ("stage2-ov", "max_frames"): ("last frame", "transformers"),
    }
    for (stage, name), fragments in told.items():
        origin = resolve(stage, "7b").origins[name]
        assert all(fragment in origin for fragment in fragments), (stage, name, origin)
