"""Views and visual tokens of the recipes; oracles: the runtime's token plan and transformers' choice of a grid."""

from __future__ import annotations

import random

import pytest
from stage_sizes import STAGE_SIZES

from ovexport.train.data.spec import training_geometry
from ovexport.train.recipe import resolve
from ovexport.train.recipe.tokens import geometry, most_image_tokens, most_video_tokens
from ovrun.tiling.grid import select_grid
from ovrun.tiling.plan import count_image_tokens, plan_image


@pytest.mark.parametrize(("stage", "size"), STAGE_SIZES)
def test_visual_tokens_are_those_of_the_plan(stage: str, size: str) -> None:
    recipe = resolve(stage, size).recipe
    side_px, per_view = (104, 49) if size == "tiny" else (384, 729)
    if stage == "stage1":
        assert recipe.max_visual_tokens == per_view
        return
    views = {"stage1.5": 5, "stage2-si": 10, "stage2-ov": 10}[stage]
    rows, columns = max(recipe.grid_pinpoints, key=lambda grid: grid[0] * grid[1])
    plan = plan_image(rows * side_px, columns * side_px, geometry(recipe))
    assert plan.num_tokens - plan.map_size[0] == recipe.max_visual_tokens == views * per_view


def test_visual_tokens_follow_the_views() -> None:
    resolved = resolve("stage2-ov", "tiny", None, {"grid_pinpoints": "(1x1),...,(2x3)"})
    assert resolved.recipe.grid_pinpoints == ((1, 1), (1, 2), (1, 3), (2, 1), (2, 2), (2, 3))
    assert resolved.recipe.max_visual_tokens == 49 * 7
    assert "follows" in resolved.origins["max_visual_tokens"]


def test_stage_1_5_takes_the_grids_of_llava_next() -> None:
    """transformers' arithmetic on (width, height), which is how LLaVA-NeXT reads images and pinpoints alike."""
    from transformers.image_processing_utils import select_best_resolution

    seed = 5
    draw = random.Random(seed)
    pinpoints_wh = [(384, 768), (768, 384), (768, 768), (1152, 384), (384, 1152)]
    spec = geometry(resolve("stage1.5", "7b").recipe)
    swapped_differs = 0
    for _ in range(3000):
        width, height = draw.randint(1, 1600), draw.randint(1, 1600)
        best_width, best_height = select_best_resolution((width, height), pinpoints_wh)
        grid = (best_height // 384, best_width // 384)
        assert select_grid(height, width, spec) == grid, (seed, width, height)
        swapped_differs += select_best_resolution((height, width), pinpoints_wh) != (grid[0] * 384, grid[1] * 384)
    assert swapped_differs > 0


def test_geometry_is_that_of_training() -> None:
    for stage, size in STAGE_SIZES:
        recipe = resolve(stage, size).recipe
        if recipe.grid_pinpoints:
            spec = geometry(recipe)
            assert training_geometry(spec, recipe.aspect_ratio, recipe.grid_pinpoints) == spec


def test_most_tokens() -> None:
    """8,765 and 6,273 were found by brute force over all sizes up to 2400 x 2400 of the released code."""
    recipe = resolve("stage2-ov", "7b").recipe
    assert (most_image_tokens(recipe), most_video_tokens(recipe)) == (8765, 6273)
    seed = 11
    draw = random.Random(seed)
    for size in ("7b", "tiny"):
        for stage in ("stage1.5", "stage2-ov"):
            recipe = resolve(stage, size).recipe
            most, spec = most_image_tokens(recipe), geometry(recipe)
            for _ in range(500):
                height, width = draw.randint(20, 2400), draw.randint(20, 2400)
                assert count_image_tokens(height, width, spec) <= most, (seed, size, stage, height, width)
