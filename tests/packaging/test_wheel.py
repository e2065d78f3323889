"""The built wheel: what is in it, and that its runtime half works with nothing but its base dependencies."""

from __future__ import annotations

import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "shapes.png"
EMBEDDED_LIMIT_BYTES = 16 << 20


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(folder), str(ROOT)]
    subprocess.run(command, check=True)
    return next(folder.glob("*.whl"))


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


def test_wheel_carries_the_kernels_of_its_platform_for_every_python(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        libraries = [name for name in archive.namelist() if name.startswith("ovkernels/libovk.")]
    if not shutil.which("g++") and not libraries:
        assert wheel.name.endswith("-py3-none-any.whl")  # NumPy stands in
    else:
        assert len(libraries) == 1 and "-py3-none-" in wheel.name and not wheel.name.endswith("-any.whl")


def test_embedded_model_is_small() -> None:
    folder = ROOT / "ovexport" / "assets" / "ov-tiny"
    assert sum(file.stat().st_size for file in folder.iterdir()) <= EMBEDDED_LIMIT_BYTES


def test_runtime_answers_with_base_dependencies_and_onnxruntime_alone(
    wheel: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env" / "bin" / "python"
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", f"{wheel}[cpu]"]
    subprocess.run(install, check=True)
    listed = subprocess.run([python, "-m", "pip", "list"], check=True, capture_output=True, text=True).stdout
    assert not {"torch", "transformers", "onnx", "safetensors"} & {line.split()[0] for line in listed.splitlines()}
    command = [python, "-m", "ovrun.cli", str(EXAMPLE), "-m", str(tiny_bundle)]
    answer = subprocess.run(command, check=True, capture_output=True, text=True, cwd=tmp_path)
    assert answer.stdout.strip()
    here = subprocess.run([sys.executable, *command[1:]], check=True, capture_output=True, text=True, cwd=tmp_path)
    assert answer.stdout == here.stdout
