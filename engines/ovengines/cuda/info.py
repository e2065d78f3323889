"""What the GPU and its driver are: what engines are built for, and what recipes are chosen by."""

from __future__ import annotations

import ctypes
import re
from dataclasses import dataclass
from pathlib import Path

from ovengines.cuda.calls import COMPUTE_CAPABILITY_MAJOR, COMPUTE_CAPABILITY_MINOR, CudaRuntime

_DRIVER_FILE = Path("/proc/driver/nvidia/version")
_PROPERTIES_BYTES = 1 << 16  # cudaDeviceProp has about 1,000 in all versions; its name comes first
_NAME_BYTES = 256


@dataclass(frozen=True, kw_only=True)
class DeviceInfo:
    """The current CUDA device. On a Jetson the memory is that of the whole machine."""

    name: str
    compute_capability: tuple[int, int]
    memory_bytes: int
    driver: str  # "580.65.06" where it says, else the CUDA version that it serves: "CUDA 13.0"

    @property
    def sm(self) -> str:
        return f"sm_{self.compute_capability[0]}{self.compute_capability[1]}"


def device_info(runtime: CudaRuntime) -> DeviceInfo:
    """Raises OVError (MISSING_DEPENDENCY) where there is no GPU or no driver."""
    runtime.integer("cudaGetDeviceCount")
    device = runtime.integer("cudaGetDevice")
    properties = ctypes.create_string_buffer(_PROPERTIES_BYTES)
    runtime.call("cudaGetDeviceProperties", properties, device)
    major, minor = (
        runtime.integer("cudaDeviceGetAttribute", attribute, device)
        for attribute in (COMPUTE_CAPABILITY_MAJOR, COMPUTE_CAPABILITY_MINOR)
    )
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    runtime.call("cudaMemGetInfo", ctypes.byref(free), ctypes.byref(total))
    return DeviceInfo(
        name=properties.raw[:_NAME_BYTES].split(b"\0")[0].decode(errors="replace"),
        compute_capability=(major, minor),
        memory_bytes=total.value,
        driver=driver_version(runtime),
    )


def driver_version(runtime: CudaRuntime, file: Path = _DRIVER_FILE) -> str:
    """The kernel module says which it is, on Jetson too; in some containers it can't be asked."""
    try:
        first_line = file.read_text().splitlines()[0]
    except (OSError, IndexError):
        first_line = ""
    if found := re.search(r"\b(\d{3}\.\d[\d.]*)\b", first_line):
        return found.group(1)
    version = runtime.integer("cudaDriverGetVersion")
    return f"CUDA {version // 1000}.{version % 1000 // 10}"
