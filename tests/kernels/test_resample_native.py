"""Resampling by the CPU library against NumPy, bit by bit, with every instruction set that this processor has.

That both are Pillow's resize is for tests/tiling/test_resize.py to see.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pool_cases import any_seed

from ovkernels import reference
from ovkernels.native import NativeResample


@pytest.fixture
def resample(isa_library: Path) -> NativeResample:
    return NativeResample(isa_library)


def random_arrays(seed: int) -> tuple[NDArray[np.uint8], NDArray[np.int32], NDArray[np.int32]]:
    """Any small size, nothing at all included, samples in any order, and weights up to those whose sums wrap."""
    rng = np.random.default_rng(seed)
    inner = int(rng.choice([1, 2, 3, 3, 4, 21, 22, 63, 64, 65, 130, 700]))
    lines, samples = int(rng.integers(0, 50)), int(rng.integers(1, 80))
    if rng.random() < 0.1:
        samples += 300
    taps = int(rng.integers(0, samples + 1)) if rng.random() < 0.3 else int(rng.integers(1, min(samples, 9) + 1))
    first_M = rng.integers(0, samples - taps + 1, int(rng.integers(0, 60))).astype(np.int32)
    if rng.random() < 0.7:
        first_M.sort()
    most = 1 << int(rng.integers(1, 32))
    weights_MK = rng.integers(-most, most, (len(first_M), taps)).clip(-(2**31), 2**31 - 1).astype(np.int32)
    return rng.integers(0, 256, (lines, samples, inner), dtype=np.uint8), first_M, weights_MK


def test_equals_numpy_on_random_cases(resample: NativeResample) -> None:
    first = any_seed()
    for seed in range(first, first + 1000):
        arrays = random_arrays(seed)
        np.testing.assert_array_equal(resample(*arrays), reference.resample(*arrays), err_msg=f"{seed=}")


@pytest.mark.parametrize("bad", [-1, 4, 2**31 - 1, -(2**31)])
@pytest.mark.parametrize("way", ["library", "numpy"])
def test_names_the_first_sample_at_fault(bad: int, way: str, resample: NativeResample) -> None:
    run = resample if way == "library" else reference.resample
    pixels_ANB = np.zeros((2, 5, 3), np.uint8)
    with pytest.raises(IndexError, match=rf"^sample 1: first tap {bad} leaves 0\.\.3$"):
        run(pixels_ANB, np.int32([0, bad, bad]), np.ones((3, 2), np.int32))


def test_more_taps_than_samples(resample: NativeResample) -> None:
    arrays = np.zeros((2, 3, 3), np.uint8), np.zeros(1, np.int32), np.ones((1, 4), np.int32)
    for run in (resample, reference.resample):
        with pytest.raises(IndexError, match="sample 0"):
            run(*arrays)


def test_writes_where_it_is_told(resample: NativeResample) -> None:
    arrays = random_arrays(7)
    expected_AMB = reference.resample(*arrays)
    out_AMB = np.zeros_like(expected_AMB)
    assert resample(*arrays, out_AMB) is out_AMB and np.array_equal(out_AMB, expected_AMB)
    wide = np.zeros((*expected_AMB.shape[:2], expected_AMB.shape[2] + 5), np.uint8)
    resample(*arrays, wide[..., 2:-3])
    assert np.array_equal(wide[..., 2:-3], expected_AMB) and not wide[..., :2].any() and not wide[..., -3:].any()


def test_takes_any_layout(resample: NativeResample) -> None:
    pixels_ANB, first_M, weights_MK = random_arrays(11)
    expected_AMB = reference.resample(pixels_ANB, first_M, weights_MK)
    scattered = np.asfortranarray(pixels_ANB), np.repeat(first_M, 2)[::2], np.asfortranarray(weights_MK)
    for run in (resample, reference.resample):
        assert np.array_equal(run(*scattered), expected_AMB)


WRONG: list[tuple[int, Any]] = [
    (0, np.zeros((2, 5, 3), np.int8)),
    (0, np.zeros((2, 5), np.uint8)),
    (1, np.zeros(4, np.int64)),
    (1, np.zeros((2, 2), np.int32)),
    (1, np.zeros(3, np.int32)),
    (2, np.zeros((4, 2), np.float32)),
    (2, np.zeros(4, np.int32)),
    (3, np.zeros((2, 4, 2), np.uint8)),
    (3, np.zeros((2, 4, 3), np.float32)),
]


@pytest.mark.parametrize(("at", "wrong"), WRONG, ids=lambda value: str(getattr(value, "shape", value)))
def test_refuses_other_shapes_and_types(at: int, wrong: Any, resample: NativeResample) -> None:
    arrays: list[Any] = [np.zeros((2, 5, 3), np.uint8), np.zeros(4, np.int32), np.zeros((4, 2), np.int32), None]
    arrays[at] = wrong
    for run in (resample, reference.resample):
        with pytest.raises(ValueError, match=r"^resampling: "):
            run(*arrays)
