"""Versions of NVIDIA's libraries, asked of the libraries themselves; None where they can't be loaded."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

_CUDNN = ("libcudnn.so.9", "libcudnn.so.8")
_TENSORRT = ("libnvinfer.so.11", "libnvinfer.so.10", "libnvinfer.so.8")


def cudnn_version() -> str | None:
    """ "9.3.0"."""
    number = _ask(_CUDNN, "cudnnGetVersion", ctypes.c_size_t)
    if number is None:
        return None
    step = 10_000 if number >= 90_000 else 1_000  # 9 has four digits after the major version, 8 has three
    return f"{number // step}.{number % step // 100}.{number % 100}"


def tensorrt_version() -> str | None:
    """ "10.3.0"."""
    number = _ask(_TENSORRT, "getInferLibVersion", ctypes.c_int32)
    if number is None:
        return None
    step = 10_000 if number >= 100_000 else 1_000  # from 10 on: major * 10000
    return f"{number // step}.{number % step // 100}.{number % 100}"


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
    """By name as the loader finds them, then in the folders of pip packages."""
    yield from names
    for package in ("nvidia", "tensorrt_libs"):
        spec = find_spec(package)
        for root in spec.submodule_search_locations or [] if spec else []:
            for name in names:
                yield from map(str, sorted(Path(root).rglob(name)))
