"""What a figure was measured on: processor, threads, device, versions and the commit of this tree."""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ROOT = Path(__file__).parents[1]
LIBRARIES = ("ovexport", "onnxruntime", "torch", "transformers", "numpy")


def describe(threads: int, device: str = "cpu") -> dict[str, str | int]:
    return {"processor": processor_name(), "device": device, "threads": threads, "system": platform.platform()}


def versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "commit": commit()}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def commit(root: Path = ROOT) -> str:
    """Short name of the commit, with "+ changes" where tracked files differ from it; "unknown" without git."""
    try:
        name, changes = (
            subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, check=True).stdout.strip()
            for words in (("rev-parse", "--short=12", "HEAD"), ("status", "--porcelain", "--untracked-files=no"))
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{name} + changes" if changes else name


def processor_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())
