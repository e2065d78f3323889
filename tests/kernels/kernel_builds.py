"""Builds of `kernels/` with CMake, in the checkout's own build folder: only what has changed is compiled again."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = ROOT / "kernels"
BUILDS = ROOT / "build" / "kernels"


def build(preset: str, *targets: str, name: str = "", tensorrt: Path | None = None, **defined: str) -> Path:
    """The folder of a build of these targets; skips the test where CMake or a compiler is missing."""
    for tools in (("cmake",), ("c++", "g++", "clang++")):
        if not any(map(shutil.which, tools)):
            pytest.skip(f"none of {', '.join(tools)} is installed")
    folder = BUILDS / (name or preset)
    if tensorrt:
        folder = folder.with_name(f"{folder.name}-tensorrt-{zlib.crc32(bytes(tensorrt)):08x}")
        defined["TENSORRT_INCLUDE_DIR"] = str(tensorrt)
    options = [f"-D{key}={value}" for key, value in defined.items()]
    with _alone(folder):
        _run("cmake", "--preset", preset, "-B", folder, *options)
        _run("cmake", "--build", folder, "--parallel", "2", "--target", *targets)
    return folder


def tensorrt_include_folders() -> list[Path]:
    """Header folders of TensorRT to build against: OV_TENSORRT_INCLUDE_DIRS, else TENSORRT_INCLUDE_DIR."""
    named = os.environ.get("OV_TENSORRT_INCLUDE_DIRS") or os.environ.get("TENSORRT_INCLUDE_DIR") or ""
    return [Path(folder) for folder in named.split(os.pathsep) if folder]


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process at a time in a build folder: tests run in several."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(folder.with_name(f"{folder.name}.lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _run(*command: object) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "TENSORRT_INCLUDE_DIR"}
    done = subprocess.run([*map(str, command)], cwd=SOURCES, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
