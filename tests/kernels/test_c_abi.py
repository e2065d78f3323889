"""The C ABI: header and Python say the same, and every misuse is answered with a status, not with a crash."""

from __future__ import annotations

import ctypes
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ovkernels import abi, native, reference
from ovkernels.abi import Status
from ovkernels.cuda import CudaTokenPool
from ovkernels.native import NativeTokenPool

ROOT = Path(__file__).parents[2]
HEADER = (ROOT / "kernels" / "include" / "ovk.h").read_text()
PIXELS, FIRST, TAPS, RESAMPLED = (np.zeros(64, dtype) for dtype in (np.uint8, np.int32, np.int32, np.uint8))
ROWS, INDICES, WEIGHTS, OUT = (np.zeros((8, 4), dtype) for dtype in (np.float32, np.int32, np.float32, np.float32))
CHANGES = [
    ({"rows": None}, Status.NULL_POINTER),
    ({"indices": None}, Status.NULL_POINTER),
    ({"weights": None}, Status.NULL_POINTER),
    ({"out": None}, Status.NULL_POINTER),
    ({"num_rows": -1}, Status.BAD_SHAPE),
    ({"num_tokens": -1}, Status.BAD_SHAPE),
    ({"dim": -1}, Status.BAD_SHAPE),
    ({"num_rows": 2**62}, Status.BAD_SHAPE),
    ({"dim": 2**62}, Status.BAD_SHAPE),
    ({"num_tokens": 2**31}, Status.BAD_SHAPE),
    ({"dtype": 3}, Status.BAD_DTYPE),
    ({"dtype": -1}, Status.BAD_DTYPE),
    ({"rows": "+2"}, Status.BAD_ALIGNMENT),
    ({"out": "+1"}, Status.BAD_ALIGNMENT),
    ({"indices": "+2"}, Status.BAD_ALIGNMENT),
    ({"weights": "+1"}, Status.BAD_ALIGNMENT),
    ({"rows": None, "num_rows": 0, "num_tokens": 0}, Status.OK),
    ({"indices": None, "weights": None, "out": None, "num_tokens": 0}, Status.OK),
    ({"rows": None, "out": None, "dim": 0}, Status.OK),
    ({}, Status.OK),
]


RESAMPLE_CHANGES = [
    ({"in": None}, Status.NULL_POINTER),
    ({"first": None}, Status.NULL_POINTER),
    ({"weights": None}, Status.NULL_POINTER),
    ({"out": None}, Status.NULL_POINTER),
    *(({name: -1}, Status.BAD_SHAPE) for name in ("outer", "in_size", "inner", "out_size", "taps")),
    *(({name: 2**62}, Status.BAD_SHAPE) for name in ("outer", "in_size", "inner", "out_size", "taps")),
    ({"first": "+2"}, Status.BAD_ALIGNMENT),
    ({"weights": "+1"}, Status.BAD_ALIGNMENT),
    ({"taps": 5}, Status.BAD_INDEX),
    ({"in_size": 0}, Status.BAD_INDEX),
    ({"in": None, "out": None, "outer": 0}, Status.OK),
    ({"in": None, "out": None, "inner": 0}, Status.OK),
    ({"first": None, "weights": None, "out": None, "out_size": 0}, Status.OK),
    ({"weights": None, "taps": 0}, Status.OK),
    ({"in": "+1", "out": "+3"}, Status.OK),
    ({}, Status.OK),
]


def changed(changes: dict[str, Any]) -> abi.TokenPool:
    """A good call but for some arguments; a text is how many bytes an address is off."""
    return with_changes(
        abi.TokenPool(*(array.ctypes.data for array in (ROWS, INDICES, WEIGHTS, OUT)), 8, 8, 4, 0), changes
    )


def with_changes(call: Any, changes: dict[str, Any]) -> Any:
    for name, value in changes.items():
        setattr(call, name, getattr(call, name) + int(value) if isinstance(value, str) else value)
    return call


@pytest.mark.parametrize(("changes", "status"), CHANGES, ids=str)
def test_misuse_is_a_status(
    changes: dict[str, Any], status: Status, native_pool: NativeTokenPool, emulated_pool: CudaTokenPool
) -> None:
    pool = changed(changes)
    assert native_pool.library.ovk_token_pool_cpu(ctypes.byref(pool), 1, None) == status
    assert emulated_pool.library.ovk_token_pool_cuda(ctypes.byref(pool), 0, None, None) == status


@pytest.mark.parametrize(("changes", "status"), RESAMPLE_CHANGES, ids=str)
def test_misuse_of_resampling_is_a_status(
    changes: dict[str, Any], status: Status, native_pool: NativeTokenPool
) -> None:
    addresses = (array.ctypes.data for array in (PIXELS, FIRST, TAPS, RESAMPLED))
    call = with_changes(abi.Resample(*addresses, 3, 4, 3, 5, 2), changes)
    assert native_pool.library.ovk_resample_cpu(ctypes.byref(call), None) == status


def test_no_pool_at_all(native_pool: NativeTokenPool, emulated_pool: CudaTokenPool) -> None:
    assert native_pool.library.ovk_token_pool_cpu(None, 1, None) == Status.NULL_POINTER
    assert native_pool.library.ovk_resample_cpu(None, None) == Status.NULL_POINTER
    assert emulated_pool.library.ovk_token_pool_cuda(None, 0, None, None) == Status.NULL_POINTER


def test_options(native_pool: NativeTokenPool) -> None:
    assert native_pool.library.ovk_token_pool_cpu(ctypes.byref(changed({})), -1, None) == Status.BAD_OPTION
    none = changed({"num_rows": 0})
    assert native_pool.library.ovk_token_pool_cpu(ctypes.byref(none), 1, None) == Status.BAD_INDEX


def test_every_status_has_a_text(native_pool: NativeTokenPool) -> None:
    texts = [native_pool.library.ovk_status_text(status).decode() for status in Status]
    assert len(set(texts)) == len(Status) and "unknown status" not in texts
    for unknown in (-1, len(Status), 2**31 - 1):
        assert native_pool.library.ovk_status_text(unknown) == b"unknown status"


def test_what_a_status_raises(native_pool: NativeTokenPool) -> None:
    abi.check(native_pool.library, Status.OK)
    with pytest.raises(RuntimeError, match="device"):
        abi.check(native_pool.library, Status.DEVICE_FAILED)
    with pytest.raises(ValueError, match="size"):
        abi.check(native_pool.library, Status.BAD_SHAPE)


def test_header_and_python_agree(native_pool: NativeTokenPool) -> None:
    version = re.search(r'^version = "(.*)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version and f'#define OVK_VERSION "{version[1]}"' in HEADER
    assert native_pool.library.ovk_version().decode() == version[1]
    assert f"#define OVK_ABI_VERSION {abi.ABI_VERSION} " in HEADER
    enums = re.findall(r"OVK_([A-Z0-9_]+) = (\d+),", HEADER)
    dtypes = {name.upper(): value for name, value in abi.DTYPES.items()}
    assert {name: int(value) for name, value in enums} == {**Status.__members__, **dtypes}
    assert f"#define OVK_RESAMPLE_BITS {reference.RESAMPLE_BITS}\n" in HEADER
    assert (ctypes.sizeof(abi.TokenPool), ctypes.sizeof(abi.Resample)) == (64, 72)


@pytest.mark.parametrize(("name", "ours"), [("ovk_token_pool", abi.TokenPool), ("ovk_resample", abi.Resample)])
def test_header_and_python_have_the_same_members(name: str, ours: type[ctypes.Structure]) -> None:
    struct = re.search(rf"typedef struct {name} \{{(.*?)\}}", HEADER, re.DOTALL)
    assert struct
    members = re.findall(r"(\w+);", re.sub(r"/\*.*?\*/", "", struct[1]))
    assert members == [field[0] for field in ours._fields_]


def test_the_installed_library_is_of_this_checkout() -> None:
    installed = Path(native.__file__).parent / native.default_file().name
    if not installed.exists():
        pytest.skip("no library beside the package: installed without a compiler")
    assert abi.open_library(installed).ovk_abi_version() == abi.ABI_VERSION
