"""What a figure was measured on: processor, threads, device and versions."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

LIBRARIES = ("ovexport", "onnxruntime", "torch", "transformers", "numpy")


def describe(threads: int) -> dict[str, str | int]:
    return {"processor": processor_name(), "device": "cpu", "threads": threads, "system": platform.platform()}


def versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def processor_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())
