"""The CUDA library and the TensorRT plugin compile: one architecture always, all of them and all headers in `slow`."""

from __future__ import annotations

import ctypes
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from kernel_builds import SOURCES, build, tensorrt_include_folders

from ovkernels import abi

pytestmark = pytest.mark.skipif(not shutil.which("nvcc"), reason="nvcc is not installed")
FOLDERS = tensorrt_include_folders()
ARCHITECTURES = ["75", "80", "86", "87", "89", "90", "100", "110", "120"]  # Turing to Blackwell, Orin and Thor


def exported(library: Path) -> set[str]:
    listed = subprocess.run(["nm", "-D", "--defined-only", library], check=True, capture_output=True, text=True)
    return {line.split()[-1] for line in listed.stdout.splitlines()}


def undefined(library: Path) -> str:
    return subprocess.run(["nm", "-D", "-u", library], check=True, capture_output=True, text=True).stdout


def check_library(library: Path) -> None:
    assert exported(library) == {"ovk_version", "ovk_abi_version", "ovk_status_text", "ovk_token_pool_cuda"}
    opened = abi.open_library(library)  # needs no driver
    assert opened.ovk_token_pool_cuda(None, 0, None, None) == abi.Status.NULL_POINTER
    pool = abi.TokenPool(*[ctypes.addressof(ctypes.create_string_buffer(64))] * 4, 1, 1, 1, 0)
    if not shutil.which("nvidia-smi"):
        assert opened.ovk_token_pool_cuda(ctypes.byref(pool), 0, None, None) == abi.Status.DEVICE_FAILED


def test_one_architecture() -> None:
    check_library(build("cuda", "ovk_cuda", name="cuda-87", CMAKE_CUDA_ARCHITECTURES="87-real") / "libovk_cuda.so")


@pytest.mark.slow
def test_all_architectures() -> None:
    check_library(build("cuda", "ovk_cuda") / "libovk_cuda.so")
    presets = json.loads((SOURCES / "CMakePresets.json").read_text())["configurePresets"]
    (cuda,) = (preset["cacheVariables"] for preset in presets if preset["name"] == "cuda")
    assert re.findall(r"\d+", cuda["CMAKE_CUDA_ARCHITECTURES"]) == ARCHITECTURES


@pytest.mark.slow
@pytest.mark.skipif(not FOLDERS, reason="no headers of TensorRT are named")
@pytest.mark.parametrize("headers", FOLDERS, ids=lambda folder: folder.name)
def test_the_plugin_in_both_flavours(headers: Path) -> None:
    folder = build("cuda", "all", tensorrt=headers, CMAKE_CUDA_ARCHITECTURES="75-real;110-real")
    libraries = sorted(folder.glob("libovk_tensorrt*"))
    names = " ".join(library.name for library in libraries)
    assert re.fullmatch(r"(libovk_tensorrt1[01]_cuda\d+)\.so \1_registered\.so", names)
    for library in libraries:
        assert {"getCreators", "setLoggerFinder"} <= exported(library)
        assert "nvinfer" not in undefined(library) and "getPluginRegistry" not in undefined(library)
