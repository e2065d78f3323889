"""The devices by name, and how an engine is opened on each: one table, no fallback that nobody asked for."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from ovengines.bundle.reader import Bundle
from ovengines.cuda.info import device_info
from ovengines.cuda.library import cuda_runtime
from ovengines.engine import Engine
from ovengines.errors import ExitCode, OVError
from ovengines.onnxruntime.presence import providers
from ovengines.tensorrt import presence as tensorrt_presence

Progress = Callable[[str, int, int], None]  # (what is being done, steps done, steps in all)


@dataclass(frozen=True, kw_only=True)
class Opening:
    """What an engine is opened with. `decoder` names the role of the decoder's graph; None is the best."""

    bundle: Bundle
    threads: int | None
    decoder: str | None
    progress: Progress | None


@dataclass(frozen=True, kw_only=True)
class Device:
    """`missing` says why the device can't be used here (None: it can), `hint` what to do about it, `suits` whether it
    runs a bundle well enough to be taken without having been asked for."""

    missing: Callable[[], str | None]
    hint: Callable[[], str]
    suits: Callable[[Bundle], bool]
    open: Callable[[Opening], Engine]


def _cpu_missing() -> str | None:
    return None if providers() else "onnxruntime is not installed"


def _open_cpu(opening: Opening) -> Engine:
    from ovengines.onnxruntime.engine import OnnxRuntimeEngine

    return OnnxRuntimeEngine(opening.bundle, threads=opening.threads, decoder=opening.decoder)


def _cuda_missing() -> str | None:
    if "CUDAExecutionProvider" not in providers():
        return "the onnxruntime that is installed has no CUDA"
    try:
        device_info(cuda_runtime())
    except OVError as err:
        return err.message
    return None


def _open_cuda(opening: Opening) -> Engine:
    from ovengines.onnxruntime.engine import OnnxRuntimeEngine
    from ovengines.onnxruntime.places import cuda_place

    place = cuda_place()
    return OnnxRuntimeEngine(opening.bundle, place=place, threads=opening.threads, decoder=opening.decoder)


def _open_tensorrt(opening: Opening) -> Engine:
    from ovengines.tensorrt.opening import open_tensorrt

    return open_tensorrt(opening.bundle, progress=opening.progress)


def _cache_dtype(bundle: Bundle) -> str | None:
    """Of the files for ONNX Runtime; None if there are none."""
    has_decoder = "decoder" in bundle.manifest.roles("ort")
    return bundle.manifest.graph("decoder", "ort").cache_dtype if has_decoder else None


# In the order in which "auto" asks. TensorRT comes last: its engines take minutes to build, so it has to be asked for,
# unless the bundle has nothing else.
DEVICES: dict[str, Device] = {
    "cuda": Device(
        missing=_cuda_missing,
        hint=lambda: "see what is missing with: ovrun doctor --device cuda",
        suits=lambda bundle: _cache_dtype(bundle) in ("float16", "bfloat16"),
        open=_open_cuda,
    ),
    "cpu": Device(
        missing=_cpu_missing,
        hint=lambda: "pip install 'ovexport[cpu]'",
        suits=lambda bundle: _cache_dtype(bundle) not in (None, "bfloat16"),
        open=_open_cpu,
    ),
    "tensorrt": Device(
        missing=tensorrt_presence.missing,
        hint=tensorrt_presence.install_hint,
        suits=lambda bundle: not bundle.manifest.roles("ort"),
        open=_open_tensorrt,
    ),
}
DEVICE_NAMES = ("auto", "cpu", "cuda", "tensorrt")


def open_engine(
    bundle: Bundle,
    device: str = "auto",
    threads: int | None = None,
    *,
    decoder: str | None = None,
    progress: Progress | None = None,
) -> Engine:
    """Open the bundle's graphs on `device`; "auto" takes the first of the table that is there and suits the bundle.

    `decoder` names the role of the decoder's graph, for those who compare them; `progress` hears of engines that have
    to be built first.

    Raises:
        OVError: MISSING_DEPENDENCY for a device that is not there, USAGE for an unknown name.
    """
    check_device(device, threads)
    named = [name for name in DEVICES if DEVICES[name].suits(bundle)] if device == "auto" else [device]
    usable = [name for name in named if DEVICES[name].missing() is None]
    if not usable:
        raise _missing(named[-1])
    return DEVICES[usable[0]].open(Opening(bundle=bundle, threads=threads, decoder=decoder, progress=progress))


def check_device(device: str, threads: int | None = None) -> None:
    """Raise OVError for a device or a number of threads that can't be had, before anything is opened."""
    if device not in DEVICE_NAMES:
        raise OVError(ExitCode.USAGE, f"unknown device {device!r}", f"one of: {', '.join(DEVICE_NAMES)}")
    if device != "auto" and DEVICES[device].missing() is not None:
        raise _missing(device)
    cores = os.cpu_count() or 1
    if threads is not None and (not isinstance(threads, int) or not 1 <= threads <= cores):
        raise OVError(ExitCode.USAGE, f"threads is {threads}", f"give 1 to {cores}, or leave it out for all cores")


def _missing(device: str) -> OVError:
    row = DEVICES[device]
    return OVError(ExitCode.MISSING_DEPENDENCY, f"device {device} is not available: {row.missing()}", row.hint())
