"""One CUDA device with one stream: memory, pinned arrays, copies in the order they are asked for, captured graphs.

Everything but `allocate`, `pinned`, `capture` and `synchronize` returns at once; a host array that is copied to or from
must stay as it is until `synchronize`. Not safe to use from several threads. Not yet run on a device.
"""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ovengines.cuda.calls import (
    CAPTURE_THREAD_LOCAL,
    DEVICE_TO_DEVICE,
    DEVICE_TO_HOST,
    HOST_TO_DEVICE,
    STREAM_NON_BLOCKING,
    CudaRuntime,
)
from ovengines.cuda.info import DeviceInfo, device_info


class Stream:
    """What work is asked of; destroyed after all that was made with it."""

    def __init__(self, runtime: CudaRuntime) -> None:
        self.handle = runtime.handle("cudaStreamCreateWithFlags", STREAM_NON_BLOCKING)
        _release_with(self, runtime, "cudaStreamDestroy", self.handle)


class DeviceMemory:
    """Memory on the device, given back with the last reference to it. Its address is a multiple of 256."""

    def __init__(self, runtime: CudaRuntime, size_bytes: int, stream: Stream) -> None:
        self.size_bytes = size_bytes
        self.address = runtime.handle("cudaMalloc", size_bytes)
        finalizer = weakref.finalize(self, _free, runtime, self.address, stream)
        finalizer.atexit = False


class CudaGraph:
    """Captured work: the same kernels over the same addresses each time."""

    def __init__(self, runtime: CudaRuntime, graph: int, stream: Stream) -> None:
        self._runtime, self._stream = runtime, stream
        try:
            self._exec = runtime.handle("cudaGraphInstantiateWithFlags", graph, 0)
        finally:
            runtime.release("cudaGraphDestroy", graph)
        _release_with(self, runtime, "cudaGraphExecDestroy", self._exec)

    def launch(self) -> None:
        self._runtime.call("cudaGraphLaunch", self._exec, self._stream.handle)


class CudaDevice:
    """The current device, CUDA's first unless CUDA_VISIBLE_DEVICES says otherwise."""

    def __init__(self, runtime: CudaRuntime) -> None:
        """Raises OVError (MISSING_DEPENDENCY) where there is no GPU or no driver."""
        self._runtime = runtime
        self.info: DeviceInfo = device_info(runtime)
        self._stream = Stream(runtime)
        self.stream = self._stream.handle

    def allocate(self, size_bytes: int) -> DeviceMemory:
        """Memory full of zeros. Raises OVError (OUT_OF_MEMORY)."""
        memory = DeviceMemory(self._runtime, max(size_bytes, 1), self._stream)
        self.clear(memory.address, memory.size_bytes)
        return memory

    def pinned(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """A host array of zeros that the device copies from without a detour."""
        size_bytes = max(1, int(np.prod(shape)) * np.dtype(dtype).itemsize)
        address = self._runtime.handle("cudaHostAlloc", size_bytes, 0)
        block = (ctypes.c_uint8 * size_bytes).from_address(address)
        _release_with(block, self._runtime, "cudaFreeHost", address)  # lives as long as any view of the array
        array = np.frombuffer(memoryview(block), dtype, count=int(np.prod(shape))).reshape(shape)
        array[...] = 0
        return array

    def upload(self, address: int, array: NDArray[Any]) -> None:
        """A contiguous host array to the device."""
        assert array.flags.c_contiguous
        self._copy(address, array.ctypes.data, array.nbytes, HOST_TO_DEVICE)

    def download(self, array: NDArray[Any], address: int) -> None:
        """Device memory into a contiguous host array."""
        assert array.flags.c_contiguous
        self._copy(array.ctypes.data, address, array.nbytes, DEVICE_TO_HOST)

    def upload_rows(self, address: int, pitch_bytes: int, rows_RC: NDArray[Any]) -> None:
        """Rows of a host array (a view of columns, too) to rows that lie `pitch_bytes` apart."""
        assert rows_RC.strides[1] == rows_RC.itemsize
        num_rows, width_bytes = rows_RC.shape[0], rows_RC.shape[1] * rows_RC.itemsize
        source = (rows_RC.ctypes.data, rows_RC.strides[0])
        self._copy_2d(address, pitch_bytes, *source, width_bytes, num_rows, HOST_TO_DEVICE)

    def copy_rows(
        self, target: int, target_pitch_bytes: int, source: int, source_pitch_bytes: int, width_bytes: int, rows: int
    ) -> None:
        """Rows from one place of the device to another."""
        self._copy_2d(target, target_pitch_bytes, source, source_pitch_bytes, width_bytes, rows, DEVICE_TO_DEVICE)

    def clear(self, address: int, size_bytes: int) -> None:
        """Zeros."""
        self._runtime.call("cudaMemsetAsync", address, 0, size_bytes, self.stream)

    def clear_rows(self, address: int, pitch_bytes: int, width_bytes: int, rows: int) -> None:
        """Zeros in rows that lie `pitch_bytes` apart."""
        if width_bytes and rows:
            self._runtime.call("cudaMemset2DAsync", address, pitch_bytes, 0, width_bytes, rows, self.stream)

    def synchronize(self) -> None:
        """Wait until all is done. What went wrong on the device since is raised here."""
        self._runtime.call("cudaStreamSynchronize", self.stream)

    def capture(self, work: Callable[[], None]) -> CudaGraph:
        """What `work` asks of the stream, to be launched later; nothing of it runs now."""
        self._runtime.call("cudaStreamBeginCapture", self.stream, CAPTURE_THREAD_LOCAL)
        graph = ctypes.c_void_p()
        try:
            work()
        except BaseException:
            self._runtime.release("cudaStreamEndCapture", self.stream, ctypes.byref(graph))
            self._runtime.release("cudaGraphDestroy", graph)
            raise
        self._runtime.call("cudaStreamEndCapture", self.stream, ctypes.byref(graph))
        return CudaGraph(self._runtime, graph.value or 0, self._stream)

    def _copy(self, target: int, source: int, size_bytes: int, kind: int) -> None:
        if size_bytes:
            self._runtime.call("cudaMemcpyAsync", target, source, size_bytes, kind, self.stream)

    def _copy_2d(
        self, target: int, target_pitch: int, source: int, source_pitch: int, width: int, rows: int, kind: int
    ) -> None:
        if width and rows:
            arguments = (target, target_pitch, source, source_pitch, width, rows, kind, self.stream)
            self._runtime.call("cudaMemcpy2DAsync", *arguments)


def _free(runtime: CudaRuntime, address: int, stream: Stream) -> None:
    runtime.release("cudaStreamSynchronize", stream.handle)  # what was asked for may still use it
    runtime.release("cudaFree", address)


def _release_with(owner: object, runtime: CudaRuntime, name: str, handle: int) -> None:
    finalizer = weakref.finalize(owner, runtime.release, name, handle)
    finalizer.atexit = False  # the process takes everything with it; the driver may be gone by then
