"""Builds of `runtime/cpp` and its check programs, in the checkout's own build folder: only what has changed is
compiled again."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = Path(__file__).parent / "native"
BUILDS = ROOT / "build" / "cpp"


def build(name: str, *targets: str, sanitize: str = "") -> Path:
    """The folder of a build of these targets; skips the test where CMake or a compiler is missing."""
    pytest.importorskip("pybind11")
    for tools in (("cmake",), ("c++", "g++", "clang++")):
        if not any(map(shutil.which, tools)):
            pytest.skip(f"none of {', '.join(tools)} is installed")
    folder = BUILDS / name
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(folder.with_name(f"{name}.lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests run in several processes
        options = [f"-DPython3_EXECUTABLE={sys.executable}", f"-DOVRUN_SANITIZE={sanitize}"]
        run("cmake", "-S", SOURCES, "-B", folder, "-DCMAKE_BUILD_TYPE=RelWithDebInfo", *options)
        run("cmake", "--build", folder, "--parallel", "2", "--target", *targets)
    return folder


def run(*command: object, **environment: str) -> str:
    """stdout of a program that must succeed."""
    done = run_any(*command, **environment)
    assert done.returncode == 0, f"{done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-6000:]}"
    return done.stdout


def run_any(*command: object, timeout_s: float = 600, **environment: str) -> subprocess.CompletedProcess[str]:
    words = list(map(str, command))
    return subprocess.run(words, env={**os.environ, **environment}, capture_output=True, text=True, timeout=timeout_s)
