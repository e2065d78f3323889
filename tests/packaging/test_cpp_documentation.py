"""docs/cpp.md as a C++ programmer follows it: its files and commands as they stand, with the wheel of this checkout."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "cpp.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)


@pytest.fixture
def workplace(wheel_environment: Path, tiny_bundle: Path, tmp_path: Path) -> Path:
    """A folder outside the checkout with what the first blocks leave there: env, the program, its CMakeLists.txt."""
    if not shutil.which("cmake") or not shutil.which("c++"):
        pytest.skip("CMake or a compiler is not installed")
    (tmp_path / "env").symlink_to(wheel_environment)
    (tmp_path / "BUNDLE").symlink_to(tiny_bundle)
    (tmp_path / "image.jpg").symlink_to(ROOT / "examples" / "shapes.png")
    (tmp_path / "caption.cpp").write_text(blocks("cpp")[0])
    (tmp_path / "CMakeLists.txt").write_text(blocks("cmake")[0])
    return tmp_path


def shell(script: str, folder: Path) -> str:
    hidden = ("OVRUN_", "PYTHON", "VIRTUAL_ENV")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
    done = subprocess.run(
        ["sh", "-e", "-c", script], cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_documented_steps_lead_to_an_answer(workplace: Path) -> None:
    install, build, by_hand = blocks("sh")[:3]
    assert install.splitlines() == ["python3 -m venv env", "env/bin/pip install 'ovexport[cpu]'"]
    right = shell("env/bin/ovrun -m BUNDLE image.jpg", workplace)
    assert shell(build, workplace).splitlines()[-1:] == right.splitlines()
    plain, pkg_config, ask = by_hand.splitlines()
    assert shell(f"{plain}\n{ask}", workplace) == right
    if shutil.which("pkg-config"):
        assert shell(f"{pkg_config}\n{ask}", workplace) == right


def test_a_project_needs_three_lines_of_ours() -> None:
    lines = [line for line in blocks("cmake")[0].splitlines() if "caption" in line or "ovrun" in line]
    assert [line.partition("(")[0] for line in lines[1:]] == ["find_package", "add_executable", "target_link_libraries"]


def test_every_snippet_compiles(workplace: Path) -> None:
    asking, chat, frames = blocks("cpp")[1:4]
    program = f"""
#include <iostream>
#include <ovrun.hpp>
struct Matrix {{
    unsigned char* data; int cols, rows; std::size_t step[2];
    int channels() const; std::size_t elemSize1() const;
}};
void asks(ov::Session& session, const ov_frame& frame) {{ {asking} {chat} }}
void sees(Matrix mat, void* data, void* luma, void* chroma, int width, int height, int stride_bytes, int luma_stride,
          int chroma_stride) {{ {frames} }}
"""
    (workplace / "snippets.cpp").write_text(program)
    shell("c++ -std=c++17 -Wall -Wextra -fsyntax-only snippets.cpp $(env/bin/ovrun --includes)", workplace)
    shell("c++ -std=c++20 -Wall -Wextra -fsyntax-only snippets.cpp $(env/bin/ovrun --includes)", workplace)


def test_a_tree_of_cmake_takes_the_sources(workplace: Path) -> None:
    """Configured only: tests/cpp builds the same tree."""
    pytest.importorskip("pybind11")
    project = "cmake_minimum_required(VERSION 3.22)\nproject(x LANGUAGES CXX)\nadd_executable(caption caption.cpp)\n"
    (workplace / "CMakeLists.txt").write_text(project + blocks("cmake")[1])
    python = f"-DPython3_EXECUTABLE={sys.executable}"
    shell(f"cmake -S . -B tree -DFETCHCONTENT_SOURCE_DIR_OVRUN={ROOT} {python}", workplace)


def test_the_installed_version_is_one(wheel_environment: Path) -> None:
    version = (ROOT / "runtime" / "cpp" / "VERSION").read_text().strip()
    assert f'version = "{version}"' in (ROOT / "pyproject.toml").read_text()
    assert f"Version: {version}\n" in (ROOT / "runtime/cpp/pkgconfig/ovrun.pc").read_text()
    assert f'PACKAGE_VERSION "{version}"' in (ROOT / "runtime/cpp/cmake/ovrunConfigVersion.cmake").read_text()
