"""What threads do gives the same pixels, and raises what it raises."""

from __future__ import annotations

import random

import numpy as np
import pytest
from PIL import Image

from ovrun.tiling import threads
from ovrun.tiling.tiles import BICUBIC, resize_to_each


@pytest.mark.parametrize("cores", [1, 3])
@pytest.mark.parametrize("seed", range(20))
def test_bits_of_pillow(seed: int, cores: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "LEAST_PIXELS", 0)
    monkeypatch.setattr(threads, "_cores", lambda: cores)
    rng = random.Random(seed)
    height_px, width_px = rng.randint(1, 600), rng.randint(1, 600)
    image = Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height_px, width_px, 3), dtype=np.uint8))
    sizes = [(rng.randint(1, 700), rng.randint(1, 700)) for _ in range(rng.randint(1, 4))]
    for size, resized in zip(sizes, resize_to_each(image, sizes), strict=True):
        expected = np.asarray(image.resize(size, BICUBIC))
        np.testing.assert_array_equal(np.asarray(resized), expected, err_msg=f"{seed=} {size}")


def test_what_a_thread_raises_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "_cores", lambda: 2)

    def work(item: int) -> None:
        if item == 3:
            raise MemoryError

    with pytest.raises(MemoryError):
        threads.for_each(work, range(9), pixels=threads.LEAST_PIXELS)
