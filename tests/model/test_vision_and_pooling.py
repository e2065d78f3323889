"""The tower, the projector and the pooled image tokens against transformers, over many sizes."""

from __future__ import annotations

import random

import pytest
import torch
from tiny_oracle import pair, pooled, relative_error

from ovrun.tiling.plan import TokenPlan, plan_image, plan_single_view, plan_video

TOLERANCE = 1e-4
FEATURES = {"vision_feature_layer": -1, "vision_feature_select_strategy": "full"}  # 4.57 needs them said


def random_pixels(num_tiles: int, image_size_px: int, seed: int) -> torch.Tensor:
    return torch.randn(num_tiles, 3, image_size_px, image_size_px, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("seed", range(10))
def test_features_are_the_last_hidden_state_without_the_post_layernorm(seed: int) -> None:
    model, oracle = pair(seed)
    pixels_NCHW = random_pixels(3, model.config.vision.image_size_px, seed)
    with torch.no_grad():
        features_NPD = model.vision_tower(pixels_NCHW)
        outputs = oracle.model.vision_tower(pixels_NCHW, output_hidden_states=True)
        embeds_NPD, expected_NPD = model.projector(features_NPD), oracle.model.multi_modal_projector(features_NPD)
    assert relative_error(features_NPD, outputs.hidden_states[-1]) < TOLERANCE, f"seed {seed}"
    assert relative_error(features_NPD, outputs.last_hidden_state) > 1e-2, "post_layernorm must make a difference"
    assert relative_error(embeds_NPD, expected_NPD) < TOLERANCE, f"seed {seed}"


def sizes(image_size_px: int, seed: int) -> list[tuple[int, int]]:
    """Portrait, landscape, extreme, one pixel, exact multiples and random ones, as (height, width)."""
    rng, s = random.Random(seed), image_size_px
    fixed = [(s, s), (1, 1), (1, 6 * s), (6 * s, 1), (3 * s, 2 * s), (s - 1, s + 1), (5 * s + 1, 4 * s - 1)]
    return fixed + [(rng.randint(1, 7 * s), rng.randint(1, 7 * s)) for _ in range(6)]


@pytest.mark.parametrize(("seed", "max_tiles"), [(0, 9), (1, 9), (2, 4), (3, None), (4, 9), (5, 2), (8, 9), (11, 9)])
def test_packed_image_features(seed: int, max_tiles: int | None) -> None:
    model, oracle = pair(seed, max_tiles=max_tiles)
    geometry = model.config.geometry
    for height, width in sizes(geometry.image_size_px, seed):
        plan = plan_image(height, width, geometry)
        pixels_NCHW = random_pixels(plan.num_tiles, geometry.image_size_px, seed)
        with torch.no_grad():
            got_TD = model.image_embeds(pixels_NCHW, [plan])
            outputs = oracle.model.get_image_features(pixels_NCHW[None], torch.tensor([[height, width]]), **FEATURES)
        expected_TD = pooled(outputs)
        assert relative_error(got_TD, expected_TD) < TOLERANCE, f"seed {seed}, {height}x{width}"


@pytest.mark.parametrize("seed", range(6))
def test_several_images_take_one_view_each(seed: int) -> None:
    model, oracle = pair(seed)
    geometry, count = model.config.geometry, 2 + seed % 3
    pixels_NCHW = random_pixels(count, geometry.image_size_px, seed)
    with torch.no_grad():
        got_TD = model.image_embeds(pixels_NCHW, [plan_single_view(geometry)] * count)
        outputs = oracle.model.get_image_features(
            pixels_NCHW[:, None], torch.tensor([[50, 60]] * count), batch_num_images=torch.tensor([count]), **FEATURES
        )
    assert relative_error(got_TD, pooled(outputs)) < TOLERANCE, f"seed {seed}"


@pytest.mark.parametrize("seed", range(6))
def test_video_frames_are_halved_and_end_in_one_newline(seed: int) -> None:
    model, oracle = pair(seed)
    geometry, frames = model.config.geometry, 1 + seed
    plan: TokenPlan = plan_video(frames, geometry)
    pixels_NCHW = random_pixels(frames, geometry.image_size_px, seed)
    with torch.no_grad():
        got_TD = model.image_embeds(pixels_NCHW, [plan])
        expected_TD = pooled(oracle.get_video_features(pixels_NCHW[None], **FEATURES))
        if len(expected_TD) == len(got_TD) - 1:  # transformers 4.57 leaves the newline to its caller
            expected_TD = torch.cat([expected_TD, oracle.model.image_newline[None]])
    assert relative_error(got_TD, expected_TD) < TOLERANCE, f"seed {seed}"


def test_pooling_is_differentiable_down_to_pixels_and_newline() -> None:
    model, _ = pair(0)
    plan = plan_image(40, 90, model.config.geometry)
    pixels_NCHW = random_pixels(plan.num_tiles, model.config.vision.image_size_px, 0).requires_grad_()
    model.image_embeds(pixels_NCHW, [plan]).square().sum().backward()
    assert pixels_NCHW.grad is not None and model.image_newline.grad is not None
    assert pixels_NCHW.grad.abs().sum() > 0 and model.image_newline.grad.abs().sum() > 0
