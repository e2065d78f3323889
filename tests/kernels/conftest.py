"""The native libraries under test: built from the checkout, so never older than the sources."""

from __future__ import annotations

import ctypes
import os
import shutil
from pathlib import Path

import pytest
from kernel_builds import build

from ovkernels import abi
from ovkernels.cuda import CudaTokenPool
from ovkernels.native import NativeTokenPool


@pytest.fixture(scope="session")
def native_library() -> Path:
    return build("cpu", "ovk") / "libovk.so"


@pytest.fixture(scope="session", params=["plain", "avx2"])
def isa_library(request: pytest.FixtureRequest, native_library: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library for each instruction set. One is chosen at the first call, so each gets a copy that has not been
    called; what has been opened stays (its nodelete)."""
    copy = tmp_path_factory.mktemp(request.param) / native_library.name
    shutil.copy(native_library, copy)
    os.environ["OVK_CPU_ISA"] = request.param
    try:
        library = abi.open_library(copy)
        library.ovk_cpu_isa.restype = ctypes.c_char_p
        chosen = library.ovk_cpu_isa().decode()
    finally:
        del os.environ["OVK_CPU_ISA"]
    if chosen != request.param:
        pytest.skip(f"this processor has no {request.param}")
    return copy


@pytest.fixture(scope="session")
def native_pool(native_library: Path) -> NativeTokenPool:
    return NativeTokenPool(native_library)


@pytest.fixture(scope="session")
def emulated_pool() -> CudaTokenPool:
    """The CUDA kernel with its threads run one after the other, on the host's memory."""
    return CudaTokenPool(build("cpu", "ovk_emulated") / "libovk_emulated.so")
