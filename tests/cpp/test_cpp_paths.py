"""`ovrun --cmake-dir`, `--includes` and `--libs`: paths of this installation, or what it lacks."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

import pytest
from cpp_builds import ROOT

from ovengines.errors import ExitCode
from ovrun import cpp_paths
from ovrun.cli import main

FLAGS = ("--cmake-dir", "--includes", "--libs")


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: Path) -> Path:
    """A package with the library in it."""
    package = tmp_path / "ovrun"
    shutil.copytree(ROOT / "runtime" / "cpp", package / "cpp", ignore=shutil.ignore_patterns("lib"))
    (package / "cpp" / "lib").mkdir()
    for file in library.parent.glob("*.so"):
        shutil.copy(file, package / "cpp" / "lib")
    monkeypatch.setattr(cpp_paths, "__file__", str(package / "cpp_paths.py"))
    return package / "cpp"


def printed(flag: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert main([flag]) == 0
    return capsys.readouterr().out.removesuffix("\n")


def test_paths_are_those_of_the_package(installed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert printed("--cmake-dir", capsys) == str(installed / "cmake")
    assert printed("--includes", capsys) == f"-I{installed / 'include'}"
    folder, rpath, name = shlex.split(printed("--libs", capsys))
    assert (folder, rpath, name) == (f"-L{installed / 'lib'}", f"-Wl,-rpath,{installed / 'lib'}", "-lovrun")


@pytest.mark.parametrize("flag", FLAGS)
@pytest.mark.parametrize("missing", ["libovrun.*", "ovrun_bridge.*"])
def test_an_installation_without_the_library_says_so(
    flag: str, missing: str, installed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for file in installed.glob(f"lib/{missing}"):
        file.unlink()
    assert main([flag]) == ExitCode.MISSING_DEPENDENCY
    captured = capsys.readouterr()
    assert captured.out == "" and "without a compiler" in captured.err and "hint: " in captured.err
