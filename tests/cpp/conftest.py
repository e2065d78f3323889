"""The library under test, built from the checkout, and the environment it starts: that of the tests."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from cpp_builds import build
from PIL import Image

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def programs() -> Path:
    """The folder of the check programs, with the library and the examples below ovrun/."""
    return build("plain", "all")


@pytest.fixture(scope="session")
def library(programs: Path) -> Path:
    return programs / "ovrun" / "libovrun.so"


@pytest.fixture
def picture() -> Path:
    return ROOT / "examples" / "shapes.png"


@pytest.fixture
def rgb_file(picture: Path, tmp_path: Path) -> tuple[Path, int, int]:
    """The picture's pixels without gaps, its width and height."""
    image = Image.open(picture).convert("RGB")
    (tmp_path / "pixels").write_bytes(image.tobytes())
    return tmp_path / "pixels", image.width, image.height


@pytest.fixture(autouse=True)
def environment_of_the_tests(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OVRUN_PYTHON_HOME", sys.prefix)
    monkeypatch.setenv("OV_HOME", str(tmp_path / "home"))
