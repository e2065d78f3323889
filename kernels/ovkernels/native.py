"""The operations by the CPU library of `kernels/csrc/cpu`, on NumPy arrays.

They give the same bits as `reference`, and hand over to it what the library has no code for. Axes as there.
"""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ovkernels import abi, reference

LINE_BYTES = 64  # the library writes large results in whole cache lines, if they start on one


class NativeTokenPool:
    """Callable as `reference.bilinear_token_pool`, with the number of threads as an option."""

    def __init__(self, file: Path) -> None:
        """Raises abi.Unavailable."""
        self.file = file
        self.library = abi.open_library(file)
        self.library.ovk_cpu_isa.restype = ctypes.c_char_p
        self._run = self.library.ovk_token_pool_cpu
        self._run.argtypes = [ctypes.POINTER(abi.TokenPool), ctypes.c_int32, ctypes.POINTER(ctypes.c_int64)]

    @property
    def description(self) -> str:
        version, isa = self.library.ovk_version().decode(), self.library.ovk_cpu_isa().decode()
        return f"{self.file.name} {version} ({isa}) from {self.file.parent}"

    def __call__(
        self, rows_RD: NDArray[Any], indices_T4: NDArray[Any], weights_T4: NDArray[np.float32], threads: int = 0
    ) -> NDArray[Any]:
        """Contract and errors of the reference; `threads` 0 takes as many as the process may use."""
        reference.check_shapes(rows_RD, indices_T4, weights_T4)
        known = rows_RD.dtype.isnative and rows_RD.dtype.name in abi.DTYPES
        if not known or indices_T4.dtype != np.int32:
            return reference.bilinear_token_pool(rows_RD, indices_T4, weights_T4)
        rows, indices = (np.require(array, requirements=["C", "A"]) for array in (rows_RD, indices_T4))
        weights = np.require(weights_T4, np.float32, ["C", "A"])
        out_TD = _empty_lines((len(indices), rows.shape[1]), rows.dtype)
        pool = abi.TokenPool(
            *(array.ctypes.data for array in (rows, indices, weights, out_TD)),
            len(rows),
            *out_TD.shape,
            abi.DTYPES[rows.dtype.name],
        )
        bad_token = ctypes.c_int64()
        status = self._run(pool, threads, bad_token)
        if status == abi.Status.BAD_INDEX:
            raise reference.index_error(rows, indices, bad_token.value)
        abi.check(self.library, status)
        return out_TD


class NativeResample:
    """Callable as `reference.resample`; lets go of Python while it runs, on one thread."""

    def __init__(self, file: Path) -> None:
        """Raises abi.Unavailable."""
        self.library = abi.open_library(file)
        self._run = self.library.ovk_resample_cpu
        self._run.argtypes = [ctypes.POINTER(abi.Resample), ctypes.POINTER(ctypes.c_int64)]

    def __call__(
        self,
        pixels_ANB: NDArray[np.uint8],
        first_M: NDArray[np.int32],
        weights_MK: NDArray[np.int32],
        out_AMB: NDArray[np.uint8] | None = None,
    ) -> NDArray[np.uint8]:
        """Contract and errors of the reference."""
        out = reference.resample_out(pixels_ANB, first_M, weights_MK, out_AMB)
        if not out.flags.c_contiguous:
            return reference.resample(pixels_ANB, first_M, weights_MK, out)
        pixels, first, weights = (
            np.require(array, requirements=["C", "A"]) for array in (pixels_ANB, first_M, weights_MK)
        )
        addresses = (array.ctypes.data for array in (pixels, first, weights, out))
        call = abi.Resample(*addresses, *pixels.shape, *weights.shape)
        bad_sample = ctypes.c_int64()
        status = self._run(call, bad_sample)
        if status == abi.Status.BAD_INDEX:
            raise reference.taps_error(first, pixels.shape[1] - weights.shape[1], bad_sample.value)
        abi.check(self.library, status)
        return out


def default_file() -> Path:
    """The library that is used unless told otherwise: OVK_LIBRARY, else the one that the wheel carries."""
    named = os.environ.get("OVK_LIBRARY")
    suffix = "dylib" if sys.platform == "darwin" else "so"
    return Path(named) if named else Path(__file__).parent / f"libovk.{suffix}"


def _empty_lines(shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    num_bytes = int(np.prod(shape)) * dtype.itemsize
    buffer = np.empty(num_bytes + LINE_BYTES, dtype=np.uint8)
    start = -buffer.ctypes.data % LINE_BYTES
    return buffer[start : start + num_bytes].view(dtype).reshape(shape)
