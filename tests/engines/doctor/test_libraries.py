"""Versions are asked of the libraries themselves: here of little ones that are built for the purpose."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ovengines.doctor import libraries


def build(folder: Path, name: str, source: str) -> Path:
    if not (compiler := shutil.which("cc")):
        pytest.skip("no C compiler")
    (folder / "library.c").write_text(source)
    subprocess.run([compiler, "-shared", "-fPIC", "-o", folder / name, folder / "library.c"], check=True)
    return folder / name


@pytest.mark.parametrize(("number", "version"), [(90300, "9.3.0"), (91002, "9.10.2"), (8907, "8.9.7")])
def test_cudnn(number: int, version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = build(tmp_path, "libcudnn.so", f"unsigned long cudnnGetVersion(void) {{ return {number}; }}")
    monkeypatch.setattr(libraries, "_CUDNN", (str(file),))
    assert libraries.cudnn_version() == version


@pytest.mark.parametrize(
    ("number", "version"), [(100300, "10.3.0"), (101601, "10.16.1"), (110401, "11.4.1"), (8602, "8.6.2")]
)
def test_tensorrt(number: int, version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = build(tmp_path, "libnvinfer.so", f"int getInferLibVersion(void) {{ return {number}; }}")
    monkeypatch.setattr(libraries, "_TENSORRT", (str(file),))
    assert libraries.tensorrt_version() == version


def test_a_library_without_the_function_and_none_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = build(tmp_path, "libcudnn.so", "int other(void) { return 0; }")
    (tmp_path / "text.so").write_text("no library")
    monkeypatch.setattr(libraries, "_CUDNN", ("libnothing.so.0", str(tmp_path / "text.so"), str(file)))
    assert libraries.cudnn_version() is None


@pytest.mark.parametrize(("cuda", "fft"), [(12, 11), (13, 12)])
def test_cuda_libraries_of_pip_packages_count(
    cuda: int, fft: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "nvidia" / f"cu{cuda}" / "lib"
    folder.mkdir(parents=True)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "nvidia", raising=False)
    before = libraries.cuda_libraries(cuda)
    build(folder, f"libcufft.so.{fft}", "int f(void) { return 0; }")
    build(folder, f"libcublas.so.{cuda}", "int f(void) { return 0; }")
    (folder / "libcurand.so.10").write_text("no library")
    assert set(libraries.cuda_libraries(cuda)) == {*before, "cublas", "cufft"}
    assert libraries.cuda_libraries(99) == []


def test_the_tensorrt_of_the_python_package_is_asked_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = []
    for major in (11, 10):
        (tmp_path / str(major)).mkdir()
        source = f"int getInferLibVersion(void) {{ return {major}0400; }}"
        files.append(str(build(tmp_path / str(major), f"libnvinfer.so.{major}", source)))
    monkeypatch.setattr(libraries, "_TENSORRT", tuple(files))
    assert [libraries.tensorrt_version(major) for major in (None, 10, 11)] == ["11.4.0", "10.4.0", "11.4.0"]
