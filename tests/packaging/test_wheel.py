"""The built wheel: what is in it, and that its runtime half works with nothing but its base dependencies."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "shapes.png"
EMBEDDED_LIMIT_BYTES = 16 << 20


def test_wheel_holds_four_packages_and_the_embedded_model(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    tops = {name.split("/")[0] for name in names if ".dist-info" not in name}
    assert tops == {"ovexport", "ovengines", "ovkernels", "ovrun"}
    for needed in (
        "ovexport/assets/ov-tiny/model.safetensors",
        "ovexport/assets/ov-tiny/tokenizer.json",
        "ovexport/checkpoint/chatml.jinja",
        "ovexport/train/mixtures/single_image.yaml",
        "ovexport/train/mixtures/figures/onevision.yaml",
    ):
        assert needed in names
    assert any(name.startswith("ovexport/verify/report.html") for name in names)


def test_wheel_carries_the_libraries_of_its_platform(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    libraries = [name for name in names if name.startswith(("ovkernels/libovk.", "ovrun/cpp/lib/"))]
    if not shutil.which("g++") and not libraries:
        assert wheel.name.endswith("-py3-none-any.whl")  # NumPy stands in
        return
    stems = sorted(name.rpartition("/")[2].partition(".")[0] for name in libraries)
    assert stems == ["libovk", "libovrun", "ovrun_bridge"]
    version = f"cp{sys.version_info.major}{sys.version_info.minor}"
    assert f"-{version}-{version}-" in wheel.name  # the bridge is of one version
    for needed in ("include/ovrun.h", "include/ovrun.hpp", "cmake/ovrunConfig.cmake", "pkgconfig/ovrun.pc"):
        assert f"ovrun/cpp/{needed}" in names
    assert not any(name.endswith("python_home.txt") for name in names)


def test_embedded_model_is_small() -> None:
    folder = ROOT / "ovexport" / "assets" / "ov-tiny"
    assert sum(file.stat().st_size for file in folder.iterdir()) <= EMBEDDED_LIMIT_BYTES


def test_runtime_answers_with_base_dependencies_and_onnxruntime_alone(
    wheel_environment: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    python = wheel_environment / "bin" / "python"
    listed = subprocess.run([python, "-m", "pip", "list"], check=True, capture_output=True, text=True).stdout
    assert not {"torch", "transformers", "onnx", "safetensors"} & {line.split()[0] for line in listed.splitlines()}
    command = [python, "-m", "ovrun.cli", str(EXAMPLE), "-m", str(tiny_bundle)]
    answer = subprocess.run(command, check=True, capture_output=True, text=True, cwd=tmp_path)
    assert answer.stdout.strip()
    here = subprocess.run([sys.executable, *command[1:]], check=True, capture_output=True, text=True, cwd=tmp_path)
    assert answer.stdout == here.stdout
