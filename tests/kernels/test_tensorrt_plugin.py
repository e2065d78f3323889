"""The TensorRT plugin without TensorRT: its check program, under sanitizers, against every header folder named.

No package of the index carries the headers, so they have to be named; `make test` tells when they are not.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from kernel_builds import ROOT, SOURCES, build, tensorrt_include_folders

FOLDERS = tensorrt_include_folders()


@pytest.mark.skipif(
    not FOLDERS, reason="the plugin is not checked: OV_TENSORRT_INCLUDE_DIRS does not name TensorRT's headers"
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


@pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")
def test_the_suite_tells_what_it_skips() -> None:
    dry = subprocess.run(["make", "-n", "test"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert any("pytest" in line and " -rs " in line for line in dry.stdout.splitlines())


def test_without_headers_the_target_is_skipped_with_a_message(tmp_path: Path) -> None:
    build("cpu", "ovk")  # skips without CMake
    environment = {key: value for key, value in os.environ.items() if key != "TENSORRT_INCLUDE_DIR"}
    command = ["cmake", "--preset", "cpu", "-B", tmp_path]
    done = subprocess.run(command, cwd=SOURCES, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and "check is skipped: TENSORRT_INCLUDE_DIR" in done.stdout
