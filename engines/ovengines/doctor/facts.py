"""What this machine has, one fact a function. Nothing is started, written or fetched; nothing that fails is fatal."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path

from ovengines.cuda.info import device_info, driver_version
from ovengines.cuda.library import cuda_runtime
from ovengines.doctor.jetson import jetson_model, power_mode
from ovengines.doctor.libraries import cuda_libraries, cudnn_version, tensorrt_version
from ovengines.errors import OVError

ABSENT = "none"
_INSTRUCTIONS = ("avx2", "f16c", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "asimd", "asimddp", "i8mm", "sve")


@dataclass(frozen=True, kw_only=True)
class Fact:
    """`value` is ABSENT for what is not there."""

    name: str
    value: str


def machine_facts() -> list[Fact]:
    """All that is known, in the order of the table."""
    return [Fact(name=name, value=probe() or ABSENT) for name, probe in PROBES.items()]


def _system() -> str:
    return f"{platform.system()} {platform.release()} {platform.machine()}, Python {platform.python_version()}"


def _processor() -> str:
    fields = _cpuinfo()
    name = fields.get("model name") or fields.get("hardware") or platform.processor() or platform.machine()
    flags = (fields.get("flags") or fields.get("features") or "").split()
    known = [flag for flag in _INSTRUCTIONS if flag in flags]
    return ", ".join([name, f"{os.cpu_count()} threads", *([" ".join(known)] if known else [])])


def _cpuinfo(file: Path = Path("/proc/cpuinfo")) -> dict[str, str]:
    try:
        first = file.read_text().split("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in first.splitlines())
    return {key.strip().lower(): value.strip() for key, _, value in pairs}


def _memory(file: Path = Path("/proc/meminfo")) -> str | None:
    try:
        kib = dict(line.split(":")[:2] for line in file.read_text().splitlines())
    except (OSError, ValueError):
        return None
    total, free = (int(kib.get(name, "0").split()[0]) / (1 << 20) for name in ("MemTotal", "MemAvailable"))
    return f"{total:.1f} GiB, {free:.1f} free"


def _gpu() -> str | None:
    try:
        gpu = device_info(cuda_runtime())
    except OVError:
        return None
    return f"{gpu.name}, {gpu.sm}, {gpu.memory_bytes / (1 << 30):.1f} GiB"


def _driver() -> str | None:
    try:
        said = driver_version(cuda_runtime())
    except OVError:
        return None
    return None if said == "CUDA 0.0" else said  # what a runtime without a driver says


def _cuda() -> str | None:
    try:
        version = cuda_runtime().integer("cudaRuntimeGetVersion")
    except OVError:
        return None
    return f"{version // 1000}.{version % 1000 // 10}"


def _cuda_libraries() -> str | None:
    """ "CUDA 13: cublas, ...": those of the CUDA that ONNX Runtime was built with, else of the one that is here."""
    version = (_onnxruntime_cuda() if find_spec("onnxruntime") else None) or _cuda()
    if version is None:
        return None
    major = int(version.split(".")[0])
    found = cuda_libraries(major)
    return f"CUDA {major}: {', '.join(found)}" if found else None


def _onnxruntime_cuda() -> str | None:
    """ "12.8"; None for a package that knows no CUDA, or does not say which."""
    from ovengines.onnxruntime.presence import providers

    if "CUDAExecutionProvider" not in providers():
        return None
    build = import_module("onnxruntime.capi.build_and_package_info")
    return getattr(build, "cuda_version", None) or None


def _onnxruntime() -> str | None:
    if not find_spec("onnxruntime"):
        return None
    from ovengines.onnxruntime.presence import providers, version

    return f"{version()}: {', '.join(name.removesuffix('ExecutionProvider') for name in providers())}"


def _tensorrt_package() -> str | None:
    for name in ("tensorrt", "tensorrt-cu13", "tensorrt-cu12", "tensorrt_cu13", "tensorrt_cu12"):
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return None


def _tensorrt_libraries() -> str | None:
    package = _tensorrt_package()
    return tensorrt_version(int(package.split(".")[0]) if package else None)


PROBES: dict[str, Callable[[], str | None]] = {
    "system": _system,
    "processor": _processor,
    "memory": _memory,
    "Jetson": jetson_model,
    "power mode": power_mode,
    "GPU": _gpu,
    "NVIDIA driver": _driver,
    "CUDA runtime": _cuda,
    "CUDA libraries": _cuda_libraries,
    "cuDNN": cudnn_version,
    "TensorRT libraries": _tensorrt_libraries,
    "TensorRT for Python": _tensorrt_package,
    "ONNX Runtime": _onnxruntime,
}
