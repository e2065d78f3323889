"""The TensorRT plugin without TensorRT: its check program, under sanitizers, against every header folder named."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from kernel_builds import SOURCES, build, tensorrt_include_folders

FOLDERS = tensorrt_include_folders()


@pytest.mark.skipif(
    not FOLDERS, reason="neither OV_TENSORRT_INCLUDE_DIRS nor TENSORRT_INCLUDE_DIR names TensorRT's headers"
)
@pytest.mark.parametrize("headers", FOLDERS, ids=lambda folder: folder.name)
def test_creator_shapes_formats_fields_and_enqueue(headers: Path) -> None:
    folder = build("asan", "check_plugin", "ovk_plugin_registered", tensorrt=headers)
    command = [folder / "check_plugin", folder / "libovk_plugin_registered.so"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr[-4000:]
    assert done.stdout.startswith("TensorRT ")
    assert done.stderr.startswith("BilinearTokenPool is not registered: libnvinfer.so.")  # opened without TensorRT
    assert done.stderr.count("\n") == 1


def test_without_headers_the_target_is_skipped_with_a_message(tmp_path: Path) -> None:
    build("cpu", "ovk")  # skips without CMake
    environment = {key: value for key, value in os.environ.items() if key != "TENSORRT_INCLUDE_DIR"}
    command = ["cmake", "--preset", "cpu", "-B", tmp_path]
    done = subprocess.run(command, cwd=SOURCES, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and "check is skipped: TENSORRT_INCLUDE_DIR" in done.stdout
