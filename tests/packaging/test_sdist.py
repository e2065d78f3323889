"""The source distribution: the wheel that is built from it has the files of the one that is built from the checkout."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PARTS = ("ovexport", "engines", "kernels", "runtime")
FILES = ("setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE")
NO_SOURCES = shutil.ignore_patterns("__pycache__", "*.so", "*.dylib", "*.egg-info", "build", "python_home.txt")


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a copy: in the checkout, a list of files that is left from an earlier build would be taken for true."""
    tree = tmp_path_factory.mktemp("sources") / "tree"
    for part in PARTS:
        shutil.copytree(ROOT / part, tree / part, ignore=NO_SOURCES, symlinks=True)
    for name in FILES:
        shutil.copy(ROOT / name, tree)
    subprocess.run([sys.executable, "setup.py", "--quiet", "sdist"], cwd=tree, check=True)
    return next((tree / "dist").iterdir())


def names_in(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


@pytest.mark.slow
def test_a_wheel_from_the_sdist_has_the_same_files(sdist: Path, wheel: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(tmp_path), str(sdist)]
    subprocess.run(command, check=True)
    built = next(tmp_path.glob("*.whl"))
    assert built.name == wheel.name
    assert names_in(built) == names_in(wheel)
