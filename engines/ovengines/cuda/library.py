"""Finds libcudart: by its name, in NVIDIA's pip packages, or in $CUDA_HOME. The newest that the driver can serve."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from ovengines.cuda.calls import CudaRuntime
from ovengines.errors import ExitCode, OVError

SONAMES = ("libcudart.so.13", "libcudart.so.12", "libcudart.so.11.0")  # newest first; the 11.x are all called 11.0
HINT = "install it with: pip install nvidia-cuda-runtime   (CUDA 12: nvidia-cuda-runtime-cu12; Jetson: JetPack)"


@lru_cache(maxsize=1)
def cuda_runtime() -> CudaRuntime:
    """Raises OVError (MISSING_DEPENDENCY) where there is no libcudart, or no driver for any that is there."""
    newest: CudaRuntime | None = None
    for runtime in _usable(_candidates()):
        if _served_by_driver(runtime):
            return runtime
        newest = newest or runtime
    if newest is None:
        raise OVError(ExitCode.MISSING_DEPENDENCY, "the CUDA runtime (libcudart) is not installed", HINT)
    return newest  # its first call says what is wrong with the driver


def _candidates() -> Iterator[str]:
    folders = [*_pip_folders(), *_toolkit_folders()]
    for soname in SONAMES:
        yield soname
        yield from (str(folder / soname) for folder in folders if (folder / soname).exists())


def _pip_folders() -> list[Path]:
    """nvidia/cuda_runtime/lib and its like; the package of that name is a namespace that is never imported."""
    spec = find_spec("nvidia")
    roots = list(spec.submodule_search_locations or []) if spec else []
    return [folder for root in roots for folder in sorted(Path(root).glob("*/lib"))]


def _toolkit_folders() -> list[Path]:
    homes = [os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH"), "/usr/local/cuda"]
    return [Path(home) / lib for home in homes if home for lib in ("lib64", "lib")]


def _usable(names: Iterator[str]) -> Iterator[CudaRuntime]:
    for name in names:
        try:
            yield CudaRuntime(ctypes.CDLL(name))
        except (OSError, AttributeError):  # not there, for another processor, or too old
            continue


def _served_by_driver(runtime: CudaRuntime) -> bool:
    """Within a major version every driver serves every runtime."""
    return runtime.integer("cudaDriverGetVersion") // 1000 >= runtime.integer("cudaRuntimeGetVersion") // 1000
