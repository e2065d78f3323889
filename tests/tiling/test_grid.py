"""The choice of a grid, against transformers' select_best_resolution."""

from __future__ import annotations

import random

import pytest
from transformers.image_processing_utils import select_best_resolution

from ovengines.errors import ExitCode, OVError
from ovrun.tiling.grid import select_grid


def transformers_grid(height_px: int, width_px: int, geometry) -> tuple[int, int]:
    rows_px, columns_px = select_best_resolution((height_px, width_px), list(geometry.grid_pinpoints))
    return rows_px // geometry.image_size_px, columns_px // geometry.image_size_px


def random_size(rng: random.Random) -> tuple[int, int]:
    """Sizes of every order of magnitude, a side of 1 to 3 px now and then."""
    return tuple(rng.choice((rng.randint(1, 3), int(10 ** rng.uniform(0.5, 4.7)), rng.randint(1, 2400))) for _ in "hw")


def test_equals_transformers_on_the_released_pinpoints(released, tiny) -> None:
    rng = random.Random(0)
    for _ in range(5000):
        height_px, width_px = random_size(rng)
        for geometry in (released, tiny):
            assert select_grid(height_px, width_px, geometry) == transformers_grid(height_px, width_px, geometry), (
                f"{height_px} x {width_px} px, seed 0"
            )


@pytest.mark.parametrize("seed", range(60))
def test_equals_transformers_on_random_lists(seed: int, geometry_of) -> None:
    rng = random.Random(seed)
    side_px = rng.choice((28, 104, 336, 384))
    pairs = [(rng.randint(1, 6) * side_px, rng.randint(1, 6) * side_px) for _ in range(rng.randint(1, 9))]
    geometry = geometry_of(side_px, pinpoints=tuple(pairs))
    for _ in range(100):
        height_px, width_px = random_size(rng)
        assert select_grid(height_px, width_px, geometry) == transformers_grid(height_px, width_px, geometry), (
            f"{height_px} x {width_px} px of {pairs}, seed {seed}"
        )


def test_the_first_of_equals_wins(geometry_of) -> None:
    # A small image fits both, and both waste the same: the order of the checkpoint's list decides.
    wide_first = geometry_of(384, pinpoints=((384, 768), (768, 384)))
    tall_first = geometry_of(384, pinpoints=((768, 384), (384, 768)))
    assert select_grid(300, 300, wide_first) == (1, 2)
    assert select_grid(300, 300, tall_first) == (2, 1)


def test_an_image_thinner_than_every_grid_still_gets_one(released) -> None:
    # One pixel high and wider than any pinpoint: no grid keeps a whole pixel of it, the smallest wastes least.
    assert select_grid(1, 100_000, released) == transformers_grid(1, 100_000, released) == (1, 1)


@pytest.mark.parametrize(("height_px", "width_px"), [(0, 5), (5, 0), (-1, 5)])
def test_refuses_an_image_without_pixels(height_px: int, width_px: int, released) -> None:
    with pytest.raises(OVError) as caught:
        select_grid(height_px, width_px, released)
    assert caught.value.code is ExitCode.BAD_INPUT


@pytest.mark.parametrize("pair", [(384, 400), (0, 384), (100, 100)])
def test_refuses_pinpoints_that_are_not_whole_tiles(pair: tuple[int, int], geometry_of) -> None:
    with pytest.raises(OVError, match=f"{pair[0]} x {pair[1]}") as caught:
        select_grid(50, 50, geometry_of(384, pinpoints=(pair,)))
    assert caught.value.code is ExitCode.BUNDLE_INVALID
