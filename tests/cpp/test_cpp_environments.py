"""Which Python is started in a process that has none, and what is said where there is none to start."""

from __future__ import annotations

import shutil
import sys
import venv
from pathlib import Path

import pytest
from cpp_builds import run, run_any

from ovengines.errors import ExitCode


@pytest.fixture
def caption(programs: Path) -> Path:
    return programs / "ovrun" / "examples" / "caption"


def test_the_environment_it_was_built_for_is_the_default(
    caption: Path, picture: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OVRUN_PYTHON_HOME")
    assert run(caption, picture, "x", tiny_bundle)


@pytest.mark.parametrize("variable", ["PYTHONHOME", "PYTHONPATH", "PYTHONSTARTUP"])
def test_pythons_own_variables_change_nothing(
    variable: str, caption: Path, picture: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    (tmp_path / "ovrun.py").write_text("raise SystemExit(9)")
    assert run(caption, picture, "x", tiny_bundle, **{variable: str(tmp_path)})


@pytest.mark.parametrize(
    ("home", "words"),
    [
        ("nothing", "there is no Python in"),
        ("empty", "can't import ovrun"),
        ("other version", "nothing for Python 3.9"),
        ("no library", "has no shared library"),
    ],
)
def test_an_environment_that_will_not_do_is_named(
    home: str, words: str, caption: Path, picture: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    folder = tmp_path / home
    if home != "nothing":
        venv.create(folder, symlinks=True)
    config = folder / "pyvenv.cfg"
    if home == "other version":
        (folder / "bin" / "python3.9").symlink_to(sys.executable)
        config.write_text(config.read_text().replace("version = 3.", "version = 3.9.").replace("3.9.11", "3.9"))
    variables = {"OVRUN_PYTHON_HOME": str(folder)}
    if home == "no library":
        next(folder.glob("lib/python3*/site-packages")).joinpath("ovrun").mkdir()
        variables["OVRUN_LIBPYTHON"] = str(tmp_path / "libpython.so")
    done = run_any(caption, picture, "x", tiny_bundle, **variables)
    assert (done.returncode, done.stdout) == (ExitCode.MISSING_DEPENDENCY, ""), done.stderr
    assert words in done.stderr and "hint: " in done.stderr


def test_a_library_alone_says_so(caption: Path, library: Path, picture: Path, tmp_path: Path) -> None:
    shutil.copy(library, tmp_path)
    variables = {"LD_LIBRARY_PATH": str(tmp_path), "LD_PRELOAD": str(tmp_path / library.name)}
    done = run_any(caption, picture, OVRUN_PYTHON_HOME="", **variables)
    assert done.returncode == ExitCode.MISSING_DEPENDENCY and "no Python environment is known" in done.stderr


def test_a_start_that_failed_can_be_repaired(programs: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "empty", symlinks=True)
    run(programs / "retries", tiny_bundle, tmp_path / "empty", sys.prefix)


def test_a_package_that_breaks_needs_a_restart(caption: Path, picture: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "broken", symlinks=True)
    next((tmp_path / "broken").glob("lib/python3*/site-packages")).joinpath("ovrun").mkdir()
    done = run_any(caption, picture, OVRUN_PYTHON_HOME=str(tmp_path / "broken"))
    assert done.returncode == ExitCode.MISSING_DEPENDENCY and "can't import ovrun" in done.stderr
    assert "start the program again" in done.stderr
