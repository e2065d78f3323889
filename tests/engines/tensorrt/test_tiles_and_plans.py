"""Tiles and token plans of any size through engines of bounded size: batches and pieces change nothing."""

from __future__ import annotations

import numpy as np
import pytest
from tiny_engine import OpenTiny
from tiny_model import HIDDEN, PATCHES, SIDE_PX, VISION, TinyModel, model_spec, random_plan

from ovengines.bundle.manifest import Geometry
from ovengines.tensorrt.profiles import bounds_of, profiles_for
from ovengines.tensorrt.projector import split_plan
from ovengines.tensorrt.recipe import RECIPES, Recipe, _read
from ovrun.tiling.plan import plan_image
from ovrun.vision.encode import tiles_of_a_run


def test_tiles_in_batches(open_tiny: OpenTiny) -> None:
    engine, _, model = open_tiny()
    random = np.random.default_rng(0)
    for count in (0, 1, 2, 3, 7):
        pixels = random.standard_normal((count, 3, SIDE_PX, SIDE_PX)).astype(np.float32)
        np.testing.assert_allclose(engine.encode(pixels), model.encode(pixels), atol=1e-4)
        np.testing.assert_allclose(engine.encode(pixels[:, :, ::-1]), model.encode(pixels[:, :, ::-1]), atol=1e-4)


def test_the_runtime_gives_as_many_tiles_as_the_engine_was_built_for(open_tiny: OpenTiny) -> None:
    engine, _, model = open_tiny(tower_tiles="7")
    assert tiles_of_a_run(engine, model_spec(model)) == 7
    engine, _, model = open_tiny(tower_tiles="99")
    assert tiles_of_a_run(engine, model_spec(model)) == 10, "the largest picture"


def test_tiles_and_plans_take_no_detour_and_allocate_nothing(open_tiny: OpenTiny) -> None:
    engine, backend, _ = open_tiny()
    engine.load("vision", "projector")
    random, before = np.random.default_rng(0), (backend.device.allocations, backend.device.pageable_bytes)
    for tiles in (1, 5):
        features = engine.encode(random.standard_normal((tiles, 3, SIDE_PX, SIDE_PX)).astype(np.float32))
        embeds = engine.project(features, *random_plan(random, tiles, 60))
        kept = features.copy(), embeds.copy()
        engine.encode(np.zeros((2, 3, SIDE_PX, SIDE_PX), np.float32))
        engine.project(np.zeros_like(features), *random_plan(random, tiles, 60))
        assert np.array_equal(features, kept[0]) and np.array_equal(embeds, kept[1]), "they are the caller's own"
    assert (backend.device.allocations, backend.device.pageable_bytes) == before


@pytest.mark.parametrize("seed", range(20))
def test_plans_in_pieces(open_tiny: OpenTiny, seed: int) -> None:
    engine, _, model = open_tiny()
    random = np.random.default_rng(seed)
    for _ in range(8):
        tiles, tokens = int(random.integers(1, 30)), int(random.choice([0, 1, 5, 40, 400]))
        features = random.standard_normal((tiles, PATCHES, VISION)).astype(np.float32)
        plan = random_plan(random, tiles, tokens)
        if random.random() < 0.3:  # in no order
            plan = tuple(part[random.permutation(tokens)] for part in plan)
        actual, expected = engine.project(features, *plan), model.project(features, *plan)
        np.testing.assert_allclose(actual, expected, atol=1e-5, err_msg=f"{seed=} {tiles=} {tokens=}")


def test_a_video_is_projected_in_as_many_pieces_as_it_takes(open_tiny: OpenTiny) -> None:
    engine, _, model = open_tiny()
    bounds = bounds_of(model_spec(model), engine._workshop.recipe)
    indices_T4 = np.repeat(np.arange(20 * PATCHES, dtype=np.int32)[:, None], 4, axis=1)
    weights_T4 = np.array([[1, 0, 0, 0]], np.float32).repeat(len(indices_T4), axis=0)
    pieces = list(split_plan(indices_T4, weights_T4, 20, PATCHES, bounds))
    assert [piece.stop - piece.start for piece in pieces] == [bounds.pooled_tiles * PATCHES] * 5
    assert [piece.start for piece in pieces][1:] == [piece.stop for piece in pieces][:-1]


def test_newlines_alone_and_plans_without_tiles(open_tiny: OpenTiny) -> None:
    engine, _, model = open_tiny()
    for tiles in (0, 1, 9):
        features = np.ones((tiles, PATCHES, VISION), np.float32)
        indices_T4 = np.full((3, 4), tiles * PATCHES, np.int32)
        weights_T4 = np.array([[1, 0, 0, 0]] * 3, np.float32)
        actual = engine.project(features, indices_T4, weights_T4)
        np.testing.assert_allclose(actual, np.repeat(model.weights["newline"], 3, axis=0), atol=1e-6)


def test_rows_that_are_not_there_are_refused(open_tiny: OpenTiny) -> None:
    engine, _, _ = open_tiny()
    features, weights_T4 = np.ones((2, PATCHES, VISION), np.float32), np.zeros((1, 4), np.float32)
    for index in (-1, 2 * PATCHES + 1):
        with pytest.raises(IndexError, match="names row"):
            engine.project(features, np.full((1, 4), index, np.int32), weights_T4)
    assert engine.project(features, np.zeros((0, 4), np.int32), weights_T4[:0]).shape == (0, HIDDEN)


@pytest.mark.parametrize("max_tiles", [9, 4, None])
def test_no_picture_has_more_tokens_than_are_expected(max_tiles: int | None) -> None:
    """Where one had, its plan would only be run in two pieces."""
    grid = tuple((384 * rows, 384 * columns) for rows in range(1, 7) for columns in range(1, 7))
    geometry = Geometry(
        image_size_px=384, patch_size_px=14, grid_pinpoints=grid, max_tiles=max_tiles, unpad_rounding="hf"
    )
    random = np.random.default_rng(0)
    model = model_spec(TinyModel())
    model = model.__class__(**{**vars(model), "geometry": geometry})
    bounds = bounds_of(model, any_recipe())
    sizes = [(384, 384), (2304, 2304), (100, 4000), *random.integers(20, 4000, (60, 2)).tolist()]
    most = max(plan_image(height, width, geometry).num_tokens for height, width in sizes)
    assert bounds.pooled_tiles == 37 and bounds.tower_tiles == 4
    assert most <= bounds.pooled_tokens or bounds.pooled_tokens == 16_384


def any_recipe() -> Recipe:
    return _read(RECIPES / "any.ini")[0]


def test_profiles_never_have_a_size_of_zero(open_tiny: OpenTiny) -> None:
    engine, backend, _ = open_tiny()
    engine.load("vision", "projector", "decoder")
    for request in backend.requests:
        for profile in request.profiles:
            for least, usual, most in profile.shapes.values():
                assert all(1 <= a <= b <= c for a, b, c in zip(least, usual, most, strict=True))
    reading, stepping = backend.requests[-1].profiles
    assert reading.shapes["attention_mask"] == ((1, 1, 1, 1, 2), (1, 1, 1, 48, 240), (1, 1, 1, 48, 816))
    assert stepping.shapes["past_key_values.1.value"][0] == (256, 1, 2, 32)
    assert stepping.shapes["attention_mask"][2] == (1, 1, 1, 1, 769)
    assert "pixel_values" in backend.requests[0].profiles[0].shapes


def test_an_axis_of_no_contract_is_refused(open_tiny: OpenTiny) -> None:
    import dataclasses

    from ovengines.bundle.manifest import TensorSpec
    from ovengines.errors import ExitCode, OVError

    engine, _, model = open_tiny()
    graph = engine.bundle.manifest.graph("decoder", "trt")
    strange = dataclasses.replace(graph, inputs=(TensorSpec(name="x", dtype="float32", shape=("beams", 3)),))
    with pytest.raises(OVError, match="unknown axes") as caught:
        profiles_for(strange, bounds_of(model_spec(model), any_recipe()))
    assert caught.value.code == ExitCode.BUNDLE_INVALID
