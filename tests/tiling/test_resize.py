"""Pixels of Pillow's own resize, bit by bit: by the library, by its NumPy truth, and by Pillow where there is none."""

from __future__ import annotations

import random

import numpy as np
import pytest
from PIL import Image

from ovkernels import native_resample, reference
from ovkernels.dispatch import Resample
from ovrun.tiling import resize, threads
from ovrun.tiling.resize import BICUBIC, bicubic_axis, first_axis, resize_to_each


def called_never(*_: object) -> None:
    raise AssertionError("this was for the other one to do")


def library() -> Resample:
    found = native_resample()
    if found is None:
        pytest.skip("no library beside the package: installed without a compiler")
    return found


@pytest.fixture(params=["library", "numpy", "pillow"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    choices = {"library": library, "numpy": lambda: reference.resample, "pillow": lambda: None}
    chosen = choices[request.param]()
    monkeypatch.setattr(resize, "native_resample", lambda: chosen)
    return request.param


def noise(width_px: int, height_px: int, seed: int) -> Image.Image:
    """Of black, white and anything: sums that leave 0 to 255 on both sides."""
    rng = np.random.default_rng(seed)
    pixels_HWC = rng.integers(0, 256, (height_px, width_px, 3), dtype=np.uint8)
    pixels_HWC[rng.random((height_px, width_px)) < 0.3] = rng.choice(np.uint8([0, 255]))
    return Image.fromarray(pixels_HWC)


def assert_bits_of_pillow(source: tuple[int, int], targets: list[tuple[int, int]], seed: int) -> None:
    image = noise(*source, seed)
    for target, resized_HWC in zip(targets, resize_to_each(image, targets), strict=True):
        expected_HWC = np.asarray(image.resize(target, BICUBIC))
        np.testing.assert_array_equal(resized_HWC, expected_HWC, err_msg=f"{seed=} {source=} {target=}")


def test_bits_of_pillow(way: str) -> None:
    """Any shape, thin ones among them, enlarged, reduced and left as it is."""
    for seed in range(400 if way == "library" else 60):
        rng = random.Random(seed)
        most = [rng.choice([3, 40, 300, 700]) for _ in range(4)]
        source = (rng.randint(1, most[0]), rng.randint(1, most[1]))
        targets = [(rng.randint(1, most[2]), rng.randint(1, most[3])) for _ in range(rng.randint(1, 3))]
        targets += rng.choices([(source[0], targets[0][1]), (targets[0][0], source[1]), source], k=rng.randint(0, 1))
        assert_bits_of_pillow(source, targets, seed)


@pytest.mark.parametrize("source", [(2000, 30), (30, 2000), (9000, 3), (3, 9000), (1, 1), (1, 700), (700, 1)], ids=str)
@pytest.mark.parametrize("target", [(384, 384), (5, 5), (1, 1), (1, 384), (384, 1)], ids=str)
def test_bits_of_far_reductions(source: tuple[int, int], target: tuple[int, int], way: str) -> None:
    """With more taps than the library lays side by side, and with fewer samples than taps."""
    assert_bits_of_pillow(source, [target], 0)


@pytest.mark.parametrize("off", [-1, 0, 1])
def test_bits_where_the_order_changes(off: int, way: str) -> None:
    """Sizes whose height shrinks by just about twice as much as the width: one row decides which axis is first."""
    for seed in range(20):
        rng = random.Random(seed)
        width, less = rng.randint(60, 200), rng.randint(-20, 40)
        target_height = rng.randint(20, 90)
        height = target_height + 2 * less + off
        if height > 0:
            assert_bits_of_pillow((width, height), [(width - less, target_height)], seed)


def test_the_order_decides_the_bits() -> None:
    """So that the test above tells the orders apart."""
    image, size = noise(50, 400, 0), (40, 60)
    by_width = image.resize((40, 400), BICUBIC).resize(size, BICUBIC)
    by_height = image.resize((50, 60), BICUBIC).resize(size, BICUBIC)
    found = [np.array_equal(np.asarray(image.resize(size, BICUBIC)), np.asarray(way)) for way in (by_width, by_height)]
    assert found.count(True) == 1
    assert found.index(True) == first_axis(image.size, size)
    assert [first_axis(image.size, size, pillow) for pillow in (9, 12, 13, 14)] == [0, 0, 1, None]
    assert first_axis((5, 501), (4, 400), 13) is None


def test_pillow_does_what_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Pillow of the future may have another order."""
    monkeypatch.setattr(resize, "first_axis", lambda *_: None)
    monkeypatch.setattr(resize, "native_resample", lambda: called_never)
    assert_bits_of_pillow((50, 400), [(40, 60)], 0)


@pytest.mark.parametrize("cores", [1, 3])
def test_threads_share_the_strips(cores: int, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "LEAST_PIXELS", 0)
    monkeypatch.setattr(threads, "_cores", lambda: cores)
    for seed in range(10):
        rng = random.Random(seed)
        source = (rng.randint(1, 600), rng.randint(1, 600))
        assert_bits_of_pillow(source, [(rng.randint(1, 700), rng.randint(1, 700)) for _ in range(3)], seed)


def test_the_library_does_it_where_it_can(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures, a film's frames upright and not, one that grows; two sizes of one picture in both orders."""
    library()
    monkeypatch.setattr(resize, "by_pillow", called_never)
    for source, target in [((400, 300), (231, 173)), ((192, 108), (38, 38)), ((64, 48), (115, 87))]:
        assert_bits_of_pillow(source, [target], 0)
    assert_bits_of_pillow((108, 192), [(38, 38), (86, 154)], 0)


def test_weights_add_up_to_one() -> None:
    for seed in range(200):
        rng = random.Random(seed)
        before, after = rng.randint(1, 900), rng.randint(1, 900)
        axis = bicubic_axis(before, after)
        first_M, weights_MK = axis.first_M, axis.weights_MK
        assert len(first_M) == after and first_M.min() >= 0 and first_M.max() + weights_MK.shape[1] <= before
        off = np.abs(weights_MK.sum(axis=1) - (1 << reference.RESAMPLE_BITS)).max()
        assert off <= weights_MK.shape[1] / 2 + 1, f"{seed=} {before=} {after=}"
