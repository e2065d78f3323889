"""The devices by name, and how an engine is opened on each: one table, no fallback that nobody asked for."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from ovengines.bundle.reader import Bundle
from ovengines.engine import Engine
from ovengines.errors import ExitCode, OVError


@dataclass(frozen=True, kw_only=True)
class Device:
    """`missing` says why the device can't be used here (None: it can); `hint` what to do about it."""

    missing: Callable[[], str | None]
    hint: str
    open: Callable[[Bundle, int | None, str | None], Engine]


def _providers() -> list[str]:
    try:
        import onnxruntime
    except ImportError:
        return []
    return list(onnxruntime.get_available_providers())


def _cpu_missing() -> str | None:
    return None if _providers() else "onnxruntime is not installed"


def _open_cpu(bundle: Bundle, threads: int | None, decoder: str | None) -> Engine:
    from ovengines.onnxruntime.engine import OnnxRuntimeEngine

    return OnnxRuntimeEngine(bundle, threads=threads, decoder=decoder)


DEVICES: dict[str, Device] = {
    "cpu": Device(missing=_cpu_missing, hint="pip install 'ovexport[cpu]'", open=_open_cpu),
}
UNSUPPORTED = {
    "cuda": "this version runs on the CPU only; leave --device out",
    "tensorrt": "this version runs on the CPU only; leave --device out",
}
DEVICE_NAMES = ("auto", *DEVICES, *UNSUPPORTED)


def open_engine(
    bundle: Bundle, device: str = "auto", threads: int | None = None, *, decoder: str | None = None
) -> Engine:
    """Open the bundle's graphs on `device`; "auto" takes the first of the table that is there.

    `decoder` names the role of the decoder's graph, for those who compare them; None is the best that can be loaded.

    Raises:
        OVError: MISSING_DEPENDENCY for a device that is not there, USAGE for an unknown name.
    """
    check_device(device, threads)
    names = list(DEVICES) if device == "auto" else [device]
    for name in names:
        if DEVICES[name].missing() is None:
            return DEVICES[name].open(bundle, threads, decoder)
    missing = DEVICES[names[0]]
    raise OVError(ExitCode.MISSING_DEPENDENCY, f"device {names[0]}: {missing.missing()}", missing.hint)


def check_device(device: str, threads: int | None = None) -> None:
    """Raise OVError for a device or a number of threads that can't be had, before anything is opened."""
    if device in UNSUPPORTED:
        raise OVError(ExitCode.MISSING_DEPENDENCY, f"device {device} is not available", UNSUPPORTED[device])
    if device not in DEVICE_NAMES:
        raise OVError(ExitCode.USAGE, f"unknown device {device!r}", f"one of: {', '.join(DEVICE_NAMES)}")
    cores = os.cpu_count() or 1
    if threads is not None and (not isinstance(threads, int) or not 1 <= threads <= cores):
        raise OVError(ExitCode.USAGE, f"threads is {threads}", f"give 1 to {cores}, or leave it out for all cores")
