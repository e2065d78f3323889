"""Batches of tiles, tiles encoded once, and views against encoding everything the plain way."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from fake_engine import GEOMETRY, FakeEngine, make_model
from PIL import Image

from ovengines.errors import ExitCode, OVError
from ovrun.tiling.plan import plan_image
from ovrun.tiling.tiles import tile_image
from ovrun.vision.encode import encode_tiles, project_views, tile_activation_bytes
from ovrun.vision.views import cap_tiles, make_view

MODEL = make_model(50)


def _noise(random: np.random.Generator, height_px: int, width_px: int) -> Image.Image:
    return Image.fromarray(random.integers(0, 256, (height_px, width_px, 3), dtype=np.uint8))


def _plainly(image: Image.Image) -> np.ndarray:
    engine = FakeEngine(MODEL)
    plan = plan_image(image.height, image.width, GEOMETRY)
    return engine.project(engine.encode(tile_image(image, GEOMETRY)), plan.indices_T4, plan.weights_T4)


@pytest.mark.parametrize("seed", range(25))
def test_rows_equal_encoding_everything_at_once(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(seed)
    image = _noise(random, *random.integers(1, 120, 2).tolist())
    if seed % 3 == 0:  # large areas of one colour: tiles that are the same
        image.paste((9, 9, 9), (0, 0, image.width, image.height))
    batch_tiles = int(random.integers(1, 5))
    monkeypatch.setenv("OV_MAX_TILE_BATCH_BYTES", str(batch_tiles * tile_activation_bytes(MODEL)))
    engine, done = FakeEngine(MODEL), []
    view = make_view(image, GEOMETRY, alone=True)
    features = encode_tiles(engine, [view], MODEL, lambda *now: done.append(now))
    rows_TD = project_views(engine, [view], features)
    np.testing.assert_allclose(rows_TD, _plainly(image), rtol=1e-5, atol=1e-5, err_msg=f"{seed=}")
    assert max(engine.batches) <= batch_tiles
    distinct = len({tile.tobytes() for tile in view.pixels_TCHW})
    assert sum(engine.batches) == distinct == len(features.features_NPD)
    assert done[-1] == (distinct, distinct)


def test_the_same_image_several_times_is_encoded_once() -> None:
    random = np.random.default_rng(0)
    first, second = _noise(random, 40, 60), _noise(random, 30, 30)
    views = [make_view(image, GEOMETRY, alone=False) for image in (first, second, first)]
    engine = FakeEngine(MODEL)
    rows_TD = project_views(engine, views, encode_tiles(engine, views, MODEL))
    assert sum(engine.batches) == 2
    per_image = rows_TD.reshape(3, 5, 8)  # 2 x 2 patches and a newline each
    np.testing.assert_array_equal(per_image[0], per_image[2])
    assert np.abs(per_image[0] - per_image[1])[:4].min() > 0
    np.testing.assert_array_equal(per_image[0, 4], per_image[1, 4])


def test_a_batch_has_a_tile_however_small_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OV_MAX_TILE_BATCH_BYTES", "1")
    engine = FakeEngine(MODEL)
    view = make_view(_noise(np.random.default_rng(1), 80, 80), GEOMETRY, alone=True)
    encode_tiles(engine, [view], MODEL)
    assert set(engine.batches) == {1} and len(engine.batches) == len(view.pixels_TCHW)


def test_an_engine_that_was_built_for_so_many_tiles_gets_as_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their activations have had their memory since then; the limit is for those who take it as they go."""
    monkeypatch.setenv("OV_MAX_TILE_BATCH_BYTES", "1")
    engine = FakeEngine(MODEL)
    engine.tower_tiles = 3
    view = make_view(_noise(np.random.default_rng(1), 80, 80), GEOMETRY, alone=True)
    encode_tiles(engine, [view], MODEL)
    assert max(engine.batches) == 3 and sum(engine.batches) == len(view.pixels_TCHW) > 3


def test_estimate_at_the_real_shape() -> None:
    geometry = dataclasses.replace(GEOMETRY, image_size_px=384)
    model = dataclasses.replace(MODEL, vision_hidden=1152, geometry=geometry)
    scores_bytes, mlp_bytes = 16 * 729 * 729 * 4, 729 * 4304 * 4
    # At least scores and MLP, each twice, and not several times that.
    assert 2 * (scores_bytes + mlp_bytes) < tile_activation_bytes(model) < 4 * (scores_bytes + mlp_bytes)


@pytest.mark.parametrize("max_tiles", [1, 2, 3, 4, 6, 9, 100])
def test_cap_keeps_the_order_and_the_small_grids(max_tiles: int) -> None:
    capped = cap_tiles(GEOMETRY, max_tiles)
    kept = [(h // 28, w // 28) for h, w in capped.grid_pinpoints]
    assert kept == [(r, c) for r in (1, 2, 3) for c in (1, 2, 3) if r * c <= max_tiles]
    image = _noise(np.random.default_rng(max_tiles), 200, 150)
    assert len(make_view(image, capped, alone=True).pixels_TCHW) <= 1 + max_tiles


@pytest.mark.parametrize("max_tiles", [0, -3])
def test_cap_below_every_grid_is_usage(max_tiles: int) -> None:
    with pytest.raises(OVError) as caught:
        cap_tiles(GEOMETRY, max_tiles)
    assert caught.value.code is ExitCode.USAGE and "1" in caught.value.hint
