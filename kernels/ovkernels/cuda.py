"""Bilinear token pooling by the CUDA library of `kernels/csrc/cuda`, on memory of a device.

Takes addresses and a stream, from whoever owns them; allocates nothing, waits for nothing.
"""

from __future__ import annotations

import ctypes
from pathlib import Path

from ovkernels import abi


class CudaTokenPool:
    """One launch per call, as `ovk_token_pool_cuda` in `kernels/include/ovk.h`."""

    def __init__(self, file: Path) -> None:
        """Raises abi.Unavailable."""
        self.library = abi.open_library(file)
        self._run = self.library.ovk_token_pool_cuda
        self._run.argtypes = [ctypes.POINTER(abi.TokenPool), ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p]

    def __call__(self, pool: abi.TokenPool, *, stream: int = 0, bad_token: int = 0, rows_in_flight: int = 0) -> None:
        """Raises ValueError for what is refused before the launch, RuntimeError for a launch that fails.

        A token with an index outside the rows comes out as zeros; the int32 at `bad_token` (an address on the
        device, 0 for none), set to abi.NO_BAD_TOKEN beforehand, holds the first such token afterwards.
        """
        abi.check(self.library, self._run(pool, rows_in_flight, bad_token, stream))
