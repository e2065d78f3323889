"""The token plan, applied to random features, against transformers' packing and PyTorch's interpolation."""

from __future__ import annotations

import dataclasses
import math
import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers.models.llava_onevision.modeling_llava_onevision import LlavaOnevisionModel
from transformers.models.llava_onevision.processing_llava_onevision import LlavaOnevisionProcessor

from ovengines.bundle.manifest import Geometry
from ovengines.errors import ExitCode, OVError
from ovkernels import bilinear_token_pool
from ovrun.tiling.grid import select_grid
from ovrun.tiling.plan import (
    TokenPlan,
    concat,
    count_image_tokens,
    plan_image,
    plan_single_view,
    plan_video,
    retarget,
    shift,
)

torch.set_num_threads(1)

# (height, width): grid, final map, tokens for 384/14 and the 36 pinpoints; measured on both released code bases.
GOLDEN = {
    (899, 1024): ((3, 3), (71, 81), 6551),
    (384, 384): ((1, 1), (27, 27), 1485),
    (300, 300): ((1, 1), (27, 27), 1485),
    (100, 1000): ((1, 3), (9, 81), 1467),
    (1000, 100): ((3, 1), (81, 9), 1539),
    (480, 640): ((2, 2), (40, 54), 2929),
    (640, 480): ((2, 2), (54, 40), 2943),
    (720, 1280): ((2, 4), (54, 96), 5967),
    (333, 500): ((1, 2), (27, 40), 1836),
    (500, 333): ((2, 1), (40, 27), 1849),
    (768, 768): ((2, 2), (54, 54), 3699),
    (1080, 1920): ((3, 5), (60, 108), 7269),
    (1920, 1080): ((5, 3), (108, 60), 7317),
    (2304, 2304): ((6, 6), (81, 81), 7371),
    (3000, 4000): ((5, 6), (70, 93), 7309),
    (4000, 3000): ((6, 5), (93, 70), 7332),
    (1152, 1152): ((3, 3), (81, 81), 7371),
    (1270, 1270): ((4, 4), (81, 81), 7371),
    (600, 2304): ((2, 6), (42, 162), 7575),
    (1600, 2300): ((5, 6), (67, 96), 7228),
    (1, 2304): ((1, 6), (1, 162), 892),
    (1153, 944): ((4, 3), (98, 81), 8765),
}
# Sizes at which the two families' truncation differs: tokens of Hugging Face, tokens of LLaVA-NeXT.
ROUNDING = {(820, 1107): (5731, 5567), (369, 820): (2403, 2349), (47, 423): (1114, 1004)}


def apply(plan: TokenPlan, features_NPD: np.ndarray, newline_D: np.ndarray) -> np.ndarray:
    rows_RD = np.concatenate([features_NPD.reshape(-1, features_NPD.shape[-1]), newline_D[None]])
    assert len(rows_RD) == plan.num_rows
    return bilinear_token_pool(rows_RD, plan.indices_T4, plan.weights_T4)


def random_features(num_tiles: int, geometry: Geometry, seed: int, dim: int = 5) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    features_NPD = rng.standard_normal((num_tiles, geometry.patches_per_side**2, dim)).astype(np.float32)
    return features_NPD, rng.standard_normal(dim).astype(np.float32)


def stand_in(geometry: Geometry) -> SimpleNamespace:
    """As much of a transformers model as its packing methods read."""
    vision = SimpleNamespace(image_size=geometry.image_size_px, patch_size=geometry.patch_size_px)
    pairs = [list(pair) for pair in geometry.grid_pinpoints]
    return SimpleNamespace(config=SimpleNamespace(vision_config=vision, image_grid_pinpoints=pairs))


def transformers_pack(size, geometry: Geometry, features_NPD: np.ndarray, newline_D: np.ndarray) -> np.ndarray:
    packed, lengths = LlavaOnevisionModel.pack_image_features(
        stand_in(geometry),
        [torch.from_numpy(features_NPD)],
        [list(size)],
        image_newline=torch.from_numpy(newline_D),
        vision_aspect_ratio=f"anyres_max_{geometry.max_tiles}",
    )
    assert lengths.tolist() == [len(packed[0])]
    return packed[0].numpy()


def transformers_count(size, geometry: Geometry) -> int:
    processor = object.__new__(LlavaOnevisionProcessor)
    processor.image_processor = SimpleNamespace(image_grid_pinpoints=[list(pair) for pair in geometry.grid_pinpoints])
    processor.num_image_tokens = geometry.patches_per_side**2
    processor.vision_aspect_ratio = f"anyres_max_{geometry.max_tiles}"
    return processor._get_number_of_features(*size, geometry.image_size_px, geometry.image_size_px)


def relative_error(out: np.ndarray, expected: np.ndarray) -> float:
    assert out.shape == expected.shape
    return float(np.abs(out - expected).max() / np.abs(expected).max())


def random_size(rng: random.Random) -> tuple[int, int]:
    return tuple(rng.choice((rng.randint(1, 3), int(10 ** rng.uniform(0.5, 3.7)), rng.randint(1, 2400))) for _ in "hw")


@pytest.mark.parametrize("size", GOLDEN, ids=str)
def test_golden_table(size: tuple[int, int], released: Geometry) -> None:
    plan = plan_image(*size, released)
    grid, map_size, num_tokens = GOLDEN[size]
    assert (plan.grid, plan.map_size, plan.num_tokens) == (grid, map_size, num_tokens)
    assert plan.num_tiles == 1 + grid[0] * grid[1]
    assert plan.num_tokens == count_image_tokens(*size, released) == transformers_count(size, released)


@pytest.mark.parametrize("size", ROUNDING, ids=str)
def test_both_roundings(size: tuple[int, int], released: Geometry) -> None:
    llava = dataclasses.replace(released, unpad_rounding="llava")
    counts = tuple(plan_image(*size, geometry).num_tokens for geometry in (released, llava))
    assert counts == ROUNDING[size] == tuple(count_image_tokens(*size, geometry) for geometry in (released, llava))
    assert transformers_count(size, released) == ROUNDING[size][0]


def test_the_widest_gap_between_the_roundings(released: Geometry) -> None:
    llava = dataclasses.replace(released, unpad_rounding="llava")
    assert abs(count_image_tokens(49, 1323, released) - count_image_tokens(49, 1323, llava)) == 218


def test_refuses_an_unknown_rounding(released: Geometry) -> None:
    with pytest.raises(OVError, match="nearest") as caught:
        plan_image(5, 5, dataclasses.replace(released, unpad_rounding="nearest"))
    assert caught.value.code is ExitCode.BUNDLE_INVALID


def test_counts_equal_transformers_and_stay_below_the_maximum(released: Geometry, tiny: Geometry) -> None:
    rng = random.Random(5)
    for _ in range(6000):
        size = random_size(rng)
        for geometry in (released, tiny):
            assert count_image_tokens(*size, geometry) == transformers_count(size, geometry), f"{size}, seed 5"
        assert count_image_tokens(*size, released) <= 8765, size


@pytest.mark.parametrize("seed", range(150))
def test_tokens_equal_transformers(seed: int, tiny: Geometry, geometry_of) -> None:
    rng = random.Random(seed)
    geometry = tiny
    if seed % 2:
        side_px = rng.choice((28, 104, 150))
        pairs = tuple((rng.randint(1, 6) * side_px, rng.randint(1, 6) * side_px) for _ in range(rng.randint(1, 8)))
        geometry = geometry_of(side_px, pinpoints=pairs, max_tiles=rng.choice((1, 2, 4, 9)))
    size = random_size(rng)
    note = f"{size} of {geometry}, seed {seed}"
    try:
        plan = plan_image(*size, geometry)
    except OVError as err:
        assert err.code is ExitCode.BAD_INPUT and "thin" in err.message, note
        features = random_features(1 + math.prod(select(size, geometry)), geometry, seed)
        with pytest.raises(RuntimeError, match="greater than 0"):
            transformers_pack(size, geometry, *features)
        return
    features = random_features(plan.num_tiles, geometry, seed)
    expected = transformers_pack(size, geometry, *features)
    assert relative_error(apply(plan, *features), expected) < 1e-6, note
    assert plan.num_tokens == count_image_tokens(*size, geometry) == len(expected), note


def select(size: tuple[int, int], geometry: Geometry) -> tuple[int, int]:
    return select_grid(*size, geometry)


@pytest.mark.parametrize("size", [*GOLDEN, *ROUNDING], ids=str)
def test_tokens_of_384_px_tiles_equal_transformers(size: tuple[int, int], released: Geometry) -> None:
    plan = plan_image(*size, released)
    features = random_features(plan.num_tiles, released, seed=sum(size), dim=3)
    assert relative_error(apply(plan, *features), transformers_pack(size, released, *features)) < 1e-6


def test_an_even_map_may_lose_all_its_rows(geometry_of) -> None:
    # One pixel high on a grid of two tile rows: no row is left, transformers gives the base view alone.
    geometry = geometry_of(104, pinpoints=((208, 208),))
    size = (1, 1000)
    plan = plan_image(*size, geometry)
    features = random_features(plan.num_tiles, geometry, seed=0)
    assert plan.map_size[0] == 0 and plan.num_tokens == 49 == transformers_count(size, geometry)
    assert np.array_equal(apply(plan, *features), transformers_pack(size, geometry, *features))


def test_a_map_too_thin_for_the_cap_is_refused(geometry_of) -> None:
    geometry = geometry_of(104, pinpoints=((104, 2080),), max_tiles=1)
    with pytest.raises(OVError, match="too thin") as caught:
        plan_image(1, 2080, geometry)
    assert caught.value.code is ExitCode.BAD_INPUT
    features = random_features(21, geometry, seed=0)
    with pytest.raises(RuntimeError, match="greater than 0"):
        transformers_pack((1, 2080), geometry, *features)


def test_without_a_cap_nothing_is_reduced(released: Geometry) -> None:
    plain = dataclasses.replace(released, max_tiles=None)
    plan = plan_image(2304, 2304, plain)
    assert plan.map_size == (162, 162) and plan.num_tokens == 729 + 162 * 163
    assert (plan.weights_T4 == np.float32((1, 0, 0, 0))).all()


def test_the_order_of_tokens(geometry_of) -> None:
    # Two tiles side by side: each map row takes a row of the left tile, one of the right tile, and a newline.
    geometry = geometry_of(28, pinpoints=((28, 56),))
    plan = plan_image(28, 56, geometry)
    assert plan.num_rows == 13
    assert plan.indices_T4[:, 0].tolist() == [0, 1, 2, 3, 4, 5, 8, 9, 12, 6, 7, 10, 11, 12]
    assert (plan.indices_T4 == plan.indices_T4[:, :1]).all()  # one source: the other three repeat it


@pytest.mark.parametrize("size", [(2304, 2304), (3000, 4000), (1080, 1920)], ids=str)
def test_reduced_tokens_are_averages(size: tuple[int, int], released: Geometry) -> None:
    plan = plan_image(*size, released)
    np.testing.assert_allclose(plan.weights_T4.sum(axis=1), 1, atol=1e-6)
    assert (plan.weights_T4 >= 0).all() and (plan.weights_T4 > 0).sum(axis=1).max() == 4


@pytest.mark.parametrize("patch_size_px", [14, 13, 26])
def test_single_view_equals_transformers(patch_size_px: int, geometry_of) -> None:
    geometry = geometry_of(104, patch_size_px)
    plan = plan_single_view(geometry)
    features = random_features(1, geometry, seed=patch_size_px)
    assert np.array_equal(apply(plan, *features), transformers_pack((50, 50), geometry, *features))
    assert (plan.num_tokens, plan.num_tiles, plan.grid) == (geometry.patches_per_side**2 + 1, 1, (0, 0))


@pytest.mark.parametrize("num_frames", [1, 2, 7])
@pytest.mark.parametrize("side_px", [28, 42, 104, 112, 384])
def test_video_equals_interpolate(num_frames: int, side_px: int, geometry_of) -> None:
    geometry = geometry_of(side_px)
    plan = plan_video(num_frames, geometry)
    features_NPD, newline_D = random_features(num_frames, geometry, seed=side_px)
    pooled = LlavaOnevisionModel.apply_pooling(stand_in(geometry), torch.from_numpy(features_NPD)).numpy()
    expected = np.concatenate([pooled.reshape(-1, pooled.shape[-1]), newline_D[None]])
    assert relative_error(apply(plan, features_NPD, newline_D), expected) < 1e-6
    side = math.ceil(geometry.patches_per_side / 2)
    assert plan.num_tokens == num_frames * side * side + 1 and plan.map_size == (side, side)


def test_video_tokens_of_the_released_geometry(released: Geometry) -> None:
    assert plan_video(32, released).num_tokens == 6273
    with pytest.raises(OVError, match="0 frames"):
        plan_video(0, released)


@pytest.mark.parametrize("seed", range(20))
def test_concat_gives_each_medium_its_own_tokens(seed: int, tiny: Geometry) -> None:
    rng = random.Random(seed)
    makers = (
        lambda: plan_image(*random_size(rng), tiny),
        lambda: plan_single_view(tiny),
        lambda: plan_video(rng.randint(1, 4), tiny),
    )
    plans = [rng.choice(makers)() for _ in range(rng.randint(1, 5))]
    joined = concat(plans)
    features_NPD, newline_D = random_features(joined.num_tiles, tiny, seed)
    first, expected = 0, []
    for plan in plans:
        expected.append(apply(plan, features_NPD[first : first + plan.num_tiles], newline_D))
        first += plan.num_tiles
    assert np.array_equal(apply(joined, features_NPD, newline_D), np.concatenate(expected)), f"seed {seed}"
    assert joined.num_tokens == sum(plan.num_tokens for plan in plans)


def test_identical_tiles_share_one_source(tiny: Geometry) -> None:
    plan = plan_image(150, 300, tiny)
    features_NPD, newline_D = random_features(plan.num_tiles, tiny, seed=0)
    features_NPD[3] = features_NPD[1]
    tile_of = [0, 1, 2, 1, *range(3, plan.num_tiles - 1)]
    unique_NPD = np.delete(features_NPD, 3, axis=0)
    shared = retarget(plan, tile_of, plan.num_tiles - 1)
    assert np.array_equal(apply(shared, unique_NPD, newline_D), apply(plan, features_NPD, newline_D))


def test_shift_moves_the_tiles_and_keeps_the_newline_last(tiny: Geometry) -> None:
    plan = plan_single_view(tiny)
    moved = shift(plan, 3)
    assert moved.num_tiles == 4 and moved.indices_T4[0, 0] == 3 * 49 and moved.indices_T4[-1, 0] == 4 * 49
    assert shift(plan, 3, 9).indices_T4[-1, 0] == 9 * 49


@pytest.mark.parametrize(("tile_of", "num_tiles"), [([0], 0), ([1], 1), ([-1], 2), ([0, 1], 2), ([], 1)])
def test_tiles_that_do_not_fit_are_refused(tile_of: list[int], num_tiles: int, tiny: Geometry) -> None:
    with pytest.raises(ValueError, match="do not map"):
        retarget(plan_single_view(tiny), tile_of, num_tiles)


def test_plans_of_different_tiles_do_not_join(tiny: Geometry, released: Geometry) -> None:
    for plans in ([], [plan_single_view(tiny), plan_single_view(released)]):
        with pytest.raises(ValueError, match="same patches per tile"):
            concat(plans)


@pytest.mark.parametrize("bad", [-1, 50, 2**31 - 1])
def test_no_plan_leaves_its_rows(bad: int, tiny: Geometry) -> None:
    plan = plan_single_view(tiny)
    indices_T4 = plan.indices_T4.copy()
    indices_T4[7, 2] = bad
    with pytest.raises(IndexError, match=str(bad)):
        dataclasses.replace(plan, indices_T4=indices_T4)


def test_a_plan_checks_its_arrays(tiny: Geometry) -> None:
    plan = plan_single_view(tiny)
    with pytest.raises(TypeError, match="int64"):
        dataclasses.replace(plan, indices_T4=plan.indices_T4.astype(np.int64))
    with pytest.raises(ValueError, match="a plan is"):
        dataclasses.replace(plan, weights_T4=plan.weights_T4[:-1])
