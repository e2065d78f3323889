"""The functions of the CUDA runtime that are used, as a table, and what their status codes are to the user.

The signatures are those of CUDA 11.4 to 13; of two functions for the same the one that did not change is taken.
"""

from __future__ import annotations

import ctypes
from ctypes import POINTER, c_char_p, c_int, c_size_t, c_uint, c_ulonglong, c_void_p
from typing import Any

from ovengines.errors import ExitCode, OVError

_INT, _POINTER, _SIZE = POINTER(c_int), POINTER(c_void_p), POINTER(c_size_t)
_STREAM = _GRAPH = _EXEC = c_void_p

# Each returns a status; 0 is success.
FUNCTIONS: dict[str, tuple[Any, ...]] = {
    "cudaRuntimeGetVersion": (_INT,),
    "cudaDriverGetVersion": (_INT,),
    "cudaGetDeviceCount": (_INT,),
    "cudaGetDevice": (_INT,),
    "cudaDeviceGetAttribute": (_INT, c_int, c_int),
    "cudaGetLastError": (),
    "cudaMemGetInfo": (_SIZE, _SIZE),
    "cudaMalloc": (_POINTER, c_size_t),
    "cudaFree": (c_void_p,),
    "cudaHostAlloc": (_POINTER, c_size_t, c_uint),
    "cudaFreeHost": (c_void_p,),
    "cudaMemcpyAsync": (c_void_p, c_void_p, c_size_t, c_int, _STREAM),
    "cudaMemcpy2DAsync": (c_void_p, c_size_t, c_void_p, c_size_t, c_size_t, c_size_t, c_int, _STREAM),
    "cudaMemsetAsync": (c_void_p, c_int, c_size_t, _STREAM),
    "cudaMemset2DAsync": (c_void_p, c_size_t, c_int, c_size_t, c_size_t, _STREAM),
    "cudaStreamCreateWithFlags": (_POINTER, c_uint),
    "cudaStreamDestroy": (_STREAM,),
    "cudaStreamSynchronize": (_STREAM,),
    "cudaStreamBeginCapture": (_STREAM, c_int),
    "cudaStreamEndCapture": (_STREAM, _POINTER),
    "cudaGraphInstantiateWithFlags": (_POINTER, _GRAPH, c_ulonglong),
    "cudaGraphLaunch": (_EXEC, _STREAM),
    "cudaGraphDestroy": (_GRAPH,),
    "cudaGraphExecDestroy": (_EXEC,),
}
HOST_TO_DEVICE, DEVICE_TO_HOST, DEVICE_TO_DEVICE = 1, 2, 3
STREAM_NON_BLOCKING = 1
CAPTURE_THREAD_LOCAL = 1
COMPUTE_CAPABILITY_MAJOR, COMPUTE_CAPABILITY_MINOR = 75, 76  # of cudaDeviceGetAttribute
_OUT_OF_MEMORY = 2
_NO_DEVICE = {35: "the NVIDIA driver is missing, or too old for it", 100: "there is no NVIDIA GPU"}


class CudaRuntime:
    """One libcudart, its functions typed. `call` raises OVError for any status but success."""

    def __init__(self, library: ctypes.CDLL) -> None:
        """Raises AttributeError for a library that lacks one of FUNCTIONS."""
        self._functions = {name: getattr(library, name) for name in FUNCTIONS}
        for name, argtypes in FUNCTIONS.items():
            self._functions[name].argtypes = argtypes
            self._functions[name].restype = c_int
        self._describe = library.cudaGetErrorString
        self._describe.argtypes, self._describe.restype = (c_int,), c_char_p
        # The struct has grown between versions, so only its beginning, the name, is read.
        properties = getattr(library, "cudaGetDeviceProperties_v2", None) or library.cudaGetDeviceProperties
        properties.argtypes, properties.restype = (c_void_p, c_int), c_int
        self._functions["cudaGetDeviceProperties"] = properties

    def call(self, name: str, *arguments: Any) -> None:
        if status := self._functions[name](*arguments):
            self._functions["cudaGetLastError"]()  # or the next call would report it again
            raise self._error(name, status)

    def release(self, name: str, *arguments: Any) -> None:
        """A call that gives something back: nobody is there any more to be told of an error."""
        self._functions[name](*arguments)

    def integer(self, name: str, *arguments: Any) -> int:
        """The int that a function writes to its first argument."""
        value = c_int()
        self.call(name, ctypes.byref(value), *arguments)
        return value.value

    def handle(self, name: str, *arguments: Any) -> int:
        """The pointer or handle that a function writes to its first argument."""
        value = c_void_p()
        self.call(name, ctypes.byref(value), *arguments)
        return value.value or 0

    def _error(self, name: str, status: int) -> OVError:
        text = (self._describe(status) or b"unknown error").decode(errors="replace")
        if status in _NO_DEVICE:
            message = f"CUDA can't be used: {_NO_DEVICE[status]} ({text})"
            return OVError(ExitCode.MISSING_DEPENDENCY, message, "check the driver with: nvidia-smi")
        if status == _OUT_OF_MEMORY:
            return OVError(
                ExitCode.OUT_OF_MEMORY,
                f"the GPU is out of memory ({name})",
                "close other programs on the GPU, keep fewer conversations, or use a smaller precision",
            )
        return OVError(ExitCode.UNEXPECTED, f"{name} failed: {text} ({status})", "please report this")
