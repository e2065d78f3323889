"""Strips on threads have the bits of Pillow's own resize, whichever axis it starts with."""

from __future__ import annotations

import random

import numpy as np
import PIL
import pytest
from PIL import Image

from ovrun.tiling import resize, threads
from ovrun.tiling.resize import BICUBIC, first_axis, resize_into

PILLOW = int(PIL.__version__.split(".")[0])


@pytest.fixture(autouse=True)
def any_size_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (resize, threads):
        monkeypatch.setattr(module, "LEAST_PIXELS", 0)


def noise(width_px: int, height_px: int, seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height_px, width_px, 3), dtype=np.uint8))


def assert_bits_of_pillow(source: tuple[int, int], targets: list[tuple[int, int]], seed: int) -> None:
    image = noise(*source, seed)
    arrays_HWC = [np.zeros((height, width, 3), np.uint8) for width, height in targets]
    resize_into(image, arrays_HWC)
    for target, array_HWC in zip(targets, arrays_HWC, strict=True):
        expected_HWC = np.asarray(image.resize(target, BICUBIC))
        np.testing.assert_array_equal(array_HWC, expected_HWC, err_msg=f"{seed=} {source=} {target=}")


@pytest.mark.parametrize("cores", [1, 3])
@pytest.mark.parametrize("seed", range(100))
def test_bits_of_pillow(seed: int, cores: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of all shapes, thin ones among them, enlarged and reduced."""
    monkeypatch.setattr(threads, "_cores", lambda: cores)
    rng = random.Random(seed)
    most = [rng.choice([3, 40, 700]) for _ in range(4)]
    source = (rng.randint(1, most[0]), rng.randint(1, most[1]))
    targets = [(rng.randint(1, most[2]), rng.randint(1, most[3])) for _ in range(rng.randint(1, 3))]
    assert_bits_of_pillow(source, targets, seed)


@pytest.mark.parametrize("off", [-1, 0, 1])
@pytest.mark.parametrize("seed", range(10))
def test_bits_where_the_order_changes(seed: int, off: int) -> None:
    """Sizes whose height shrinks by just about twice as much as the width: one row decides which axis is first."""
    rng = random.Random(seed)
    width, less = rng.randint(60, 200), rng.randint(-20, 40)
    target_height = rng.randint(20, 90)
    height = target_height + 2 * less + off
    if height < 1:
        pytest.skip("no such size")
    assert_bits_of_pillow((width, height), [(width - less, target_height)], seed)


def test_the_order_decides_the_bits() -> None:
    """So that the tests above tell the orders apart."""
    image, size = noise(50, 400, 0), (40, 60)
    by_width = image.resize((40, 400), BICUBIC).resize(size, BICUBIC)
    by_height = image.resize((50, 60), BICUBIC).resize(size, BICUBIC)
    found = [np.array_equal(np.asarray(image.resize(size, BICUBIC)), np.asarray(way)) for way in (by_width, by_height)]
    assert found.count(True) == 1
    assert found.index(True) == first_axis(image.size, size, PILLOW)
    assert (first_axis(image.size, size, 12), first_axis(image.size, size, 13)) == (0, 1)


def test_a_pillow_of_the_future_resizes_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who knows in which order."""
    monkeypatch.setattr(PIL, "__version__", "99.0.0")
    monkeypatch.setattr(resize, "first_axis", lambda *_: pytest.fail("must not be asked"))
    assert_bits_of_pillow((300, 200), [(64, 64), (500, 300)], 0)
