"""Which of NVIDIA's libraries can be loaded, and their versions, asked of the libraries themselves.

Those of NVIDIA's pip packages count, though the loader does not find them: our engines load them from there.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

_CUDNN = ("libcudnn.so.9", "libcudnn.so.8")
_TENSORRT = ("libnvinfer.so.11", "libnvinfer.so.10", "libnvinfer.so.8")
# What ONNX Runtime's CUDA provider is linked with, beside cuDNN: the major version of each in that of CUDA.
_OF_CUDA = {
    12: {"cublasLt": 12, "cublas": 12, "cufft": 11, "curand": 10, "cudart": 12},
    13: {"cublasLt": 13, "cublas": 13, "cufft": 12, "curand": 10, "cudart": 13},
}
CUDA_LIBRARIES = tuple(_OF_CUDA[13])


def cudnn_version() -> str | None:
    """ "9.3.0"."""
    number = _ask(_CUDNN, "cudnnGetVersion", ctypes.c_size_t)
    if number is None:
        return None
    step = 10_000 if number >= 90_000 else 1_000  # 9 has four digits after the major version, 8 has three
    return f"{number // step}.{number % step // 100}.{number % 100}"


def tensorrt_version(major: int | None = None) -> str | None:
    """ "10.3.0"; of several that of `major`, which is what a Python package of that version loads."""
    names = sorted(_TENSORRT, key=lambda name: not name.endswith(f".so.{major}"))
    number = _ask(tuple(names), "getInferLibVersion", ctypes.c_int32)
    if number is None:
        return None
    step = 10_000 if number >= 100_000 else 1_000  # from 10 on: major * 10000
    return f"{number // step}.{number % step // 100}.{number % 100}"


def cuda_libraries(cuda_major: int) -> list[str]:
    """Those of CUDA_LIBRARIES that can be loaded in the version of this CUDA."""
    versions = _OF_CUDA.get(cuda_major, {})
    return [name for name, major in versions.items() if _can_load(f"lib{name}.so.{major}")]


def _can_load(soname: str) -> bool:
    for name in _places((soname,)):
        try:
            ctypes.CDLL(name)
        except OSError:
            continue
        return True
    return False


def _ask(names: tuple[str, ...], function: str, result: type[ctypes.c_size_t] | type[ctypes.c_int32]) -> int | None:
    for name in _places(names):
        try:
            ask = getattr(ctypes.CDLL(name), function)
        except (OSError, AttributeError):
            continue
        ask.restype = result
        return int(ask())
    return None


def _places(names: tuple[str, ...]) -> Iterator[str]:
    """Each by name as the loader finds it, then in the folders of pip packages."""
    specs = [spec for package in ("nvidia", "tensorrt_libs") if (spec := find_spec(package))]
    roots = [Path(root) for spec in specs for root in spec.submodule_search_locations or ()]
    for name in names:
        yield name
        yield from (str(file) for root in roots for file in sorted(root.rglob(name)))
