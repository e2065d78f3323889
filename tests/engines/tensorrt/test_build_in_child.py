"""Engines built in processes of their own: progress and errors arrive, whatever becomes of the process."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import pytest
from host_device import OrtBackend
from tiny_engine import write_recipe
from tiny_model import TinyModel, write_bundle

from ovengines import Bundle, open_bundle
from ovengines.errors import ExitCode, OVError
from ovengines.tensorrt import __main__ as command
from ovengines.tensorrt import child
from ovengines.tensorrt.child import build_in_child
from ovengines.tensorrt.engine import TensorRTEngine
from ovengines.tensorrt.prepare import ROLES
from ovengines.tensorrt.presence import PLUGIN_VARIABLE
from ovengines.tensorrt.store import stored_engines

HERE = Path(__file__).parent


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bundle:
    monkeypatch.setattr(child, "MODULE", "build_worker")
    monkeypatch.setenv("PYTHONPATH", f"{HERE}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    return open_bundle(write_bundle(tmp_path / "bundle", TinyModel()))


def open_apart(
    bundle: Bundle, folder: Path, told: list[tuple[str, int, int]], *, force: bool = False
) -> TensorRTEngine:
    recipe = write_recipe(folder)
    return TensorRTEngine(
        bundle,
        OrtBackend(),
        recipe=recipe,
        progress=lambda *one: told.append(one),
        elsewhere=partial(build_in_child, bundle.path, recipe=recipe, force=force),
        force=force,
    )


def test_an_engine_is_built_elsewhere_and_loaded_here(bundle: Bundle, tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    engine = open_apart(bundle, tmp_path, told)
    engine.load("vision")
    assert told == [
        ("no vision engine has been built on this machine", 0, 1),
        ("building the vision engine", 1, 1),
        ("checking the vision engine", 0, 1),
    ]
    assert not engine._workshop.backend.requests, "nothing is built in this process"  # type: ignore[attr-defined]
    (before,) = stored_engines()
    open_apart(bundle, tmp_path, told, force=True).build("vision")
    (after,) = stored_engines()
    assert before.folder == after.folder and ("the vision engine is asked for anew", 0, 1) in told


def test_the_command_builds_all_of_them(bundle: Bundle, tmp_path: Path) -> None:
    assert command.main([str(bundle.path), "--recipe", write_recipe(tmp_path)]) == 0
    assert sorted(stored.sidecar.fingerprint["role"] for stored in stored_engines()) == sorted(ROLES)
    open_apart(bundle, tmp_path, []).load(*ROLES)


def test_the_command_tells_what_went_wrong(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(PLUGIN_VARIABLE, str(tmp_path / "nowhere.so"))
    assert command.main([str(bundle.path), "--recipe", write_recipe(tmp_path)]) == ExitCode.MISSING_DEPENDENCY
    assert "nowhere.so, which is no file\nhint: build it as docs/tensorrt.md says" in capsys.readouterr().err
    assert not stored_engines(), "before the minutes of the first build"


@pytest.mark.parametrize(
    ("fault", "code", "told"),
    [
        ("refuse", ExitCode.BUNDLE_INVALID, "TensorRT can't parse it: no importer (build it again)"),
        ("killed", ExitCode.OUT_OF_MEMORY, "the vision engine was ended, most likely for want of memory"),
        ("crash", ExitCode.UNEXPECTED, "was ended with exit code 1: RuntimeError: no such tactic"),
    ],
)
def test_what_goes_wrong_there_is_told_here(
    bundle: Bundle, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch, fault: str, code: ExitCode, told: str
) -> None:
    monkeypatch.setenv("OV_TEST_WORKER", fault)
    with pytest.raises(OVError) as caught:
        open_apart(bundle, tmp_path, []).load(*ROLES)
    assert caught.value.code is code and told in str(caught.value) and caught.value.hint
    assert not stored_engines()


def test_an_interrupt_here_ends_it_there(
    bundle: Bundle, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OV_TEST_WORKER", "interrupt")
    engine = open_apart(bundle, tmp_path, [])

    def interrupt(what: str, done: int, total: int) -> None:
        if what == "waiting":
            raise KeyboardInterrupt

    engine._progress = interrupt
    with pytest.raises(KeyboardInterrupt):
        engine.load("vision")
    assert (home / "interrupted").exists() and not list((home / "engines").iterdir())


def test_without_a_python_there_is_an_error(bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "")
    with pytest.raises(OVError, match="no Python to run it"):
        open_apart(bundle, tmp_path, []).load("vision")
