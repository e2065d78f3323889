"""The native libraries under test: built from the checkout, so never older than the sources."""

from __future__ import annotations

from pathlib import Path

import pytest
from kernel_builds import build

from ovkernels.cuda import CudaTokenPool
from ovkernels.native import NativeTokenPool


@pytest.fixture(scope="session")
def native_library() -> Path:
    return build("cpu", "ovk") / "libovk.so"


@pytest.fixture(scope="session")
def native_pool(native_library: Path) -> NativeTokenPool:
    return NativeTokenPool(native_library)


@pytest.fixture(scope="session")
def emulated_pool() -> CudaTokenPool:
    """The CUDA kernel with its threads run one after the other, on the host's memory."""
    return CudaTokenPool(build("cpu", "ovk_emulated") / "libovk_emulated.so")
