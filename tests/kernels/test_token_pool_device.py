"""The CUDA library on a device, where there is one; and of its benchmark what a CPU can tell."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from kernel_builds import build
from pool_cases import DTYPES, Case, assert_same, bad_case, plan_cases, random_case

from benchmarks import token_pool_cuda
from ovkernels import abi, bilinear_token_pool, reference
from ovkernels.cuda import CudaTokenPool

needs_device = pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch sees no CUDA device")


@pytest.fixture(scope="module")
def device_pool() -> CudaTokenPool:
    major, minor = torch.cuda.get_device_capability()
    folder = build("cuda", "ovk_cuda", name="cuda-device", CMAKE_CUDA_ARCHITECTURES=f"{major}{minor}-real")
    return CudaTokenPool(folder / "libovk_cuda.so")


def run(pool: CudaTokenPool, case: Case, rows_in_flight: int) -> tuple[np.ndarray, int]:
    """Bytes go there and back, since torch has no NumPy type for bfloat16."""
    shape = len(case.indices_T4), case.rows_RD.shape[1]
    there = [torch.from_numpy(np.frombuffer(array.tobytes(), np.uint8).copy()).cuda() for array in case.arrays]
    out = torch.zeros(shape[0] * shape[1] * case.rows_RD.itemsize, dtype=torch.uint8, device="cuda")
    bad_token = torch.full((1,), abi.NO_BAD_TOKEN, dtype=torch.int32, device="cuda")
    addresses = (tensor.data_ptr() for tensor in (*there, out))
    arguments = abi.TokenPool(*addresses, len(case.rows_RD), *shape, abi.DTYPES[case.rows_RD.dtype.name])
    stream = torch.cuda.current_stream().cuda_stream
    pool(arguments, stream=stream, bad_token=bad_token.data_ptr(), rows_in_flight=rows_in_flight)
    return out.cpu().numpy().view(case.rows_RD.dtype).reshape(shape), int(bad_token)


@needs_device
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("rows_in_flight", [0, 1, 2, 4])
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_device_equals_numpy(dtype: str, rows_in_flight: int, device_pool: CudaTokenPool) -> None:
    cases = [*(random_case(seed, dtype) for seed in range(200)), *plan_cases(20, 7, dtype, dim=896)]
    for case in cases:
        out_TD, bad_token = run(device_pool, case, rows_in_flight)
        assert_same(out_TD, reference.bilinear_token_pool(*case.arrays), case.note)
        assert bad_token == abi.NO_BAD_TOKEN
    for seed in range(50):
        case, first = bad_case(seed, dtype)
        out_TD, bad_token = run(device_pool, case, rows_in_flight)
        assert bad_token == first and not out_TD[first].astype(np.float32).any(), case.note


@pytest.mark.parametrize("size_px", token_pool_cuda.SIZES_PX, ids=str)
def test_the_benchmark_compares_like_with_like(size_px: tuple[int, int] | None) -> None:
    inputs = token_pool_cuda.make_inputs(size_px, 8, torch.float32, "cpu")
    plan = inputs.plan.indices_T4, inputs.plan.weights_T4
    expected = torch.from_numpy(bilinear_token_pool(inputs.rows_RD.numpy(), *plan))
    torch.testing.assert_close(token_pool_cuda.replaced(inputs)(), expected, rtol=1e-4, atol=1e-5)
    assert expected.nbytes < inputs.traffic_bytes <= inputs.rows_RD.nbytes + expected.nbytes
    assert token_pool_cuda.copy(inputs)().nbytes == inputs.traffic_bytes // 2


def test_without_a_device_it_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(SystemExit) as ended:
        token_pool_cuda.main([])
    assert ended.value.code == 2 and "no CUDA device" in capsys.readouterr().err
