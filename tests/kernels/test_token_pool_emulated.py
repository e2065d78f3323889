"""The CUDA kernel, emulated thread by thread, against NumPy: its indexing, its widths of access, its ends."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pool_cases import DTYPES, Case, any_seed, assert_same, bad_case, plan_cases, random_case

from ovkernels import abi, reference
from ovkernels.cuda import CudaTokenPool

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")


def placed(array: NDArray[Any], skip_bytes: int) -> NDArray[Any]:
    """A copy that starts so many bytes after a multiple of 64."""
    buffer = np.zeros(array.nbytes + 128, np.uint8)
    start = -buffer.ctypes.data % 64 + skip_bytes
    copy = buffer[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


def emulate(
    pool: CudaTokenPool, case: Case, rows_in_flight: int = 0, skips: tuple[int, ...] = (0, 0, 0, 0)
) -> tuple[NDArray[Any], int]:
    """out_TD and the token in the flag. `skips`: bytes by which rows, indices, weights, out are off."""
    out_TD = np.full((len(case.indices_T4), case.rows_RD.shape[1]), 7, case.rows_RD.dtype)
    rows, indices, weights, out = (placed(a, s) for a, s in zip((*case.arrays, out_TD), skips, strict=True))
    bad_token = np.array([abi.NO_BAD_TOKEN], np.int32)
    sizes = len(rows), *out.shape, abi.DTYPES[rows.dtype.name]
    arguments = abi.TokenPool(*(array.ctypes.data for array in (rows, indices, weights, out)), *sizes)
    pool(arguments, bad_token=bad_token.ctypes.data, rows_in_flight=rows_in_flight)
    return out, int(bad_token[0])


@pytest.mark.parametrize("rows_in_flight", [0, 1, 2, 4])
@pytest.mark.parametrize("dtype", DTYPES)
def test_equals_numpy_on_random_cases(dtype: str, rows_in_flight: int, emulated_pool: CudaTokenPool) -> None:
    for seed in range(250):
        case = random_case(seed, dtype)
        out_TD, bad_token = emulate(emulated_pool, case, rows_in_flight)
        assert_same(out_TD, reference.bilinear_token_pool(*case.arrays), case.note)
        assert bad_token == abi.NO_BAD_TOKEN


@pytest.mark.parametrize("dtype", DTYPES)
def test_equals_numpy_on_plans_of_the_runtime(dtype: str, emulated_pool: CudaTokenPool) -> None:
    for case in plan_cases(2000, any_seed(), dtype):
        out_TD, _ = emulate(emulated_pool, case)
        assert_same(out_TD, reference.bilinear_token_pool(*case.arrays), case.note)


@pytest.mark.parametrize("dtype", DTYPES)
def test_any_alignment_of_any_array(dtype: str, emulated_pool: CudaTokenPool) -> None:
    rng = np.random.default_rng(2)
    for seed in range(300):
        case = random_case(seed, dtype)
        element = case.rows_RD.itemsize
        skips = tuple(int(rng.integers(0, 16 // size)) * size for size in (element, 4, 4, element))
        out_TD, _ = emulate(emulated_pool, case, int(rng.choice([0, 1, 2, 4])), skips)
        assert_same(out_TD, reference.bilinear_token_pool(*case.arrays), f"{case.note}, off by {skips}")


@pytest.mark.parametrize(("num_tokens", "dim"), [(8765, 896), (729, 3584), (1, 5000), (3, 2049), (70000, 1)])
def test_sizes_that_take_many_blocks_or_passes(num_tokens: int, dim: int, emulated_pool: CudaTokenPool) -> None:
    rng = np.random.default_rng(dim)
    case = Case(
        rows_RD=rng.standard_normal((40, dim)).astype(np.float16),
        indices_T4=rng.integers(0, 40, (num_tokens, 4)).astype(np.int32),
        weights_T4=rng.random((num_tokens, 4), dtype=np.float32),
        note=f"T {num_tokens}, D {dim}",
    )
    out_TD, _ = emulate(emulated_pool, case)
    assert_same(out_TD, reference.bilinear_token_pool(*case.arrays), case.note)


@pytest.mark.parametrize("dtype", DTYPES)
def test_tokens_at_fault_are_zeros_and_the_first_is_told(dtype: str, emulated_pool: CudaTokenPool) -> None:
    for seed in range(150):
        case, first = bad_case(seed, dtype)
        inside_T = ((case.indices_T4 >= 0) & (case.indices_T4 < len(case.rows_RD))).all(axis=1)
        mended = np.where(inside_T[:, None], case.indices_T4, 0).astype(np.int32)
        expected_TD = reference.bilinear_token_pool(case.rows_RD, mended, case.weights_T4)
        expected_TD[~inside_T] = 0
        out_TD, bad_token = emulate(emulated_pool, case, rows_in_flight=(0, 1, 2, 4)[seed % 4])
        assert_same(out_TD, expected_TD, case.note)
        assert bad_token == first, case.note


def test_an_earlier_fault_is_kept(emulated_pool: CudaTokenPool) -> None:
    case, first = bad_case(1, "float32")
    flag = np.array([first - 1], np.int32)  # of an earlier launch with the same flag
    out_TD = np.empty((len(case.indices_T4), case.rows_RD.shape[1]), np.float32)
    addresses = (array.ctypes.data for array in (*case.arrays, out_TD))
    emulated_pool(abi.TokenPool(*addresses, len(case.rows_RD), *out_TD.shape, 0), bad_token=flag.ctypes.data)
    assert flag[0] == first - 1


@pytest.mark.parametrize("rows_in_flight", [-1, 3, 8])
def test_refuses_other_numbers_of_rows_in_flight(rows_in_flight: int, emulated_pool: CudaTokenPool) -> None:
    with pytest.raises(ValueError, match="rows in flight"):
        emulate(emulated_pool, random_case(1, "float32"), rows_in_flight)
