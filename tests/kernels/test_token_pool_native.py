"""The CPU library against NumPy, bit by bit, with every instruction set that this processor has."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from pool_cases import BAD_INDICES, DTYPES, any_seed, assert_same, bad_case, plan_cases, random_case

from ovkernels import reference
from ovkernels.native import NativeTokenPool

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy's, where numbers are not finite


@pytest.fixture
def pool(isa_library: Path) -> NativeTokenPool:
    return NativeTokenPool(isa_library)


@pytest.mark.parametrize("dtype", DTYPES)
def test_equals_numpy_on_random_cases(dtype: str, pool: NativeTokenPool) -> None:
    for seed in range(600):
        case = random_case(seed, dtype)
        out_TD = pool(*case.arrays, threads=seed % 4)
        assert_same(out_TD, reference.bilinear_token_pool(*case.arrays), case.note)


@pytest.mark.parametrize("dtype", DTYPES)
def test_equals_numpy_on_plans_of_the_runtime(dtype: str, pool: NativeTokenPool) -> None:
    for case in plan_cases(2000, any_seed(), dtype):
        assert_same(pool(*case.arrays), reference.bilinear_token_pool(*case.arrays), case.note)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("threads", [0, 1, 2, 5, 1000])
def test_threads_share_the_tokens(threads: int, dtype: str, native_pool: NativeTokenPool) -> None:
    rng = np.random.default_rng(threads)
    rows_RD = rng.standard_normal((300, 900)).astype(DTYPES[dtype])
    indices_T4 = rng.integers(0, 300, (1501, 4)).astype(np.int32)
    weights_T4 = rng.random((1501, 4), dtype=np.float32)
    out_TD = native_pool(rows_RD, indices_T4, weights_T4, threads)
    assert_same(out_TD, reference.bilinear_token_pool(rows_RD, indices_T4, weights_T4), f"{threads} threads")


@pytest.mark.parametrize("dim", [896, 897])
def test_large_results_are_written_past_the_caches(dim: int, pool: NativeTokenPool) -> None:
    rng = np.random.default_rng(dim)
    rows_RD = rng.standard_normal((50, dim)).astype(np.float32)
    indices_T4 = rng.integers(0, 50, (4800, 4)).astype(np.int32)
    weights_T4 = rng.random((4800, 4), dtype=np.float32)
    expected_TD = reference.bilinear_token_pool(rows_RD, indices_T4, weights_T4)
    assert expected_TD.nbytes > 16 << 20
    assert_same(pool(rows_RD, indices_T4, weights_T4, 2), expected_TD, f"D {dim}")


def test_every_half_widens_as_in_numpy(pool: NativeTokenPool) -> None:
    rows_RD = np.arange(1 << 16, dtype=np.uint16).view(np.float16).reshape(-1, 64)
    indices_T4 = np.repeat(np.arange(len(rows_RD), dtype=np.int32)[:, None], 4, axis=1)
    weights_T4 = np.tile(np.float32([1, 0, 0, 0]), (len(rows_RD), 1))
    for part in (slice(0, 64), slice(0, 5)):  # by vectors, one by one
        arrays = np.ascontiguousarray(rows_RD[:, part]), indices_T4, weights_T4
        assert_same(pool(*arrays), reference.bilinear_token_pool(*arrays), str(part))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("dim", [1, 64])
def test_rounds_as_numpy_does_where_it_is_close(dim: int, dtype: str, pool: NativeTokenPool) -> None:
    # A row of ones makes the weight the sum: all numbers of the dtype, the middles between them, and their neighbours.
    exact = np.arange(1 << 15, dtype=np.uint16).view(DTYPES[dtype]).astype(np.float32)
    middle = exact.view(np.uint32)[:-1] // 2 + exact.view(np.uint32)[1:] // 2
    middle = np.append(middle, np.float32([2**-25, 2**-134]).view(np.uint32))  # below the smallest: not in the bits
    bits = np.concatenate([exact.view(np.uint32), middle - 1, middle, middle + 1])
    values = np.concatenate([bits, bits | np.uint32(1 << 31)]).view(np.float32)
    weights_T4 = np.zeros((len(values), 4), dtype=np.float32)
    weights_T4[:, 2] = values
    arrays = np.ones((1, dim), DTYPES[dtype]), np.zeros((len(values), 4), np.int32), weights_T4
    assert_same(pool(*arrays), reference.bilinear_token_pool(*arrays), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_names_the_first_token_at_fault_as_numpy_does(dtype: str, native_pool: NativeTokenPool) -> None:
    for seed in range(100):
        case, first = bad_case(seed, dtype)
        with pytest.raises(IndexError, match=f"^token {first}: ") as theirs:
            reference.bilinear_token_pool(*case.arrays)
        with pytest.raises(IndexError) as ours:
            native_pool(*case.arrays)
        assert str(ours.value) == str(theirs.value), case.note


@pytest.mark.parametrize("bad", [*BAD_INDICES, 5])
def test_weight_zero_does_not_excuse_an_index(bad: int, native_pool: NativeTokenPool) -> None:
    indices_T4 = np.zeros((3, 4), np.int32)
    indices_T4[1, 3] = bad
    with pytest.raises(IndexError, match=r"^token 1: "):
        native_pool(np.ones((5, 2), np.float32), indices_T4, np.zeros((3, 4), np.float32))


def test_takes_any_layout_of_the_arrays(native_pool: NativeTokenPool) -> None:
    case = random_case(9, "float32")
    expected_TD = reference.bilinear_token_pool(*case.arrays)
    rows_RD = np.asfortranarray(case.rows_RD)
    indices_T4 = np.repeat(case.indices_T4, 2, axis=0)[::2]
    misaligned = np.frombuffer(b"\0" + case.weights_T4.tobytes(), np.uint8)[1:].view(np.float32)
    weights_T4 = misaligned.reshape(case.weights_T4.shape)
    assert_same(native_pool(rows_RD, indices_T4, weights_T4), expected_TD, case.note)
    assert_same(native_pool(rows_RD[::-1][::-1], indices_T4, weights_T4.astype(np.float64)), expected_TD, case.note)


@pytest.mark.parametrize("rows_dtype", ["float64", ">f4", "int32"])
def test_hands_over_to_numpy_what_it_has_no_code_for(rows_dtype: str, native_pool: NativeTokenPool) -> None:
    case = random_case(5, "float32")
    arrays = (case.rows_RD * 9).astype(rows_dtype), *case.arrays[1:]
    out_TD, expected_TD = native_pool(*arrays), reference.bilinear_token_pool(*arrays)
    assert out_TD.dtype == expected_TD.dtype and np.array_equal(out_TD, expected_TD)


def test_wide_indices_are_not_cut_off(native_pool: NativeTokenPool) -> None:
    indices_T4 = np.full((1, 4), 1 << 32, dtype=np.int64)
    with pytest.raises(IndexError, match=str(1 << 32)):
        native_pool(np.ones((2, 2), np.float32), indices_T4, np.ones((1, 4), np.float32))


@pytest.mark.parametrize("sizes", [(0, 3, 0), (5, 0, 7), (5, 2, 0)], ids=str)
def test_nothing_to_do(sizes: tuple[int, int, int], native_pool: NativeTokenPool) -> None:
    num_rows, dim, num_tokens = sizes
    plan = np.zeros((num_tokens, 4), np.int32), np.ones((num_tokens, 4), np.float32)
    assert native_pool(np.ones((num_rows, dim), np.float32), *plan).shape == (num_tokens, dim)


def test_no_rows_have_no_row_0(native_pool: NativeTokenPool) -> None:
    with pytest.raises(IndexError, match=r"0\.\.-1"):
        native_pool(np.ones((0, 3), np.float32), np.zeros((1, 4), np.int32), np.ones((1, 4), np.float32))


def test_refuses_other_shapes(native_pool: NativeTokenPool) -> None:
    with pytest.raises(ValueError, match="token pooling needs"):
        native_pool(np.ones((5, 2), np.float32), np.zeros((3, 3), np.int32), np.ones((3, 3), np.float32))


def test_callers_in_several_threads_at_once(native_pool: NativeTokenPool) -> None:
    cases = [random_case(seed, "float32") for seed in range(6)]
    large = np.random.default_rng(0).standard_normal((2000, 896)).astype(np.float32)
    plan = np.zeros((1000, 4), np.int32), np.full((1000, 4), 0.5, np.float32)
    expected = [reference.bilinear_token_pool(*case.arrays) for case in cases]

    def call(number: int) -> None:
        case = cases[number % len(cases)]
        assert_same(native_pool(*case.arrays), expected[number % len(cases)], case.note)
        assert (native_pool(large, *plan, threads=3) == 2 * large[0]).all()

    with ThreadPoolExecutor(4) as callers:
        list(callers.map(call, range(40)))


def test_a_forked_process_pools_on_its_own(native_pool: NativeTokenPool) -> None:
    rows_RD = np.random.default_rng(1).standard_normal((50, 900)).astype(np.float32)
    arrays = rows_RD, np.zeros((1500, 4), np.int32), np.full((1500, 4), 0.25, np.float32)
    assert (native_pool(*arrays, threads=3) == rows_RD[0]).all()  # the threads are there now, and stay behind
    child = os.fork()
    if child == 0:
        try:
            right = (native_pool(*arrays, threads=3) == rows_RD[0]).all()
            os._exit(not right)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
