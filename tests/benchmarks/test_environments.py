"""Environments and peers: what is installed how, and the table of all."""

from __future__ import annotations

import itertools
import subprocess
from importlib.metadata import version
from pathlib import Path

import pytest

from benchmarks import environments
from benchmarks.environments import NAMES, REQUIREMENTS, install, python_of
from benchmarks.peers.table import CONTESTANTS, OURS, PEERS
from benchmarks.setting import NotInstalled, Setting
from benchmarks.worker import Worker

PEER_FILES = sorted((REQUIREMENTS.parent).glob("*.py"))


@pytest.fixture
def pip(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[list[str]]:
    """Commands that were run, in an empty folder of environments."""
    commands: list[list[str]] = []

    def run(command: list[str], **_: object) -> None:
        commands.append(command)
        if "venv" in command:
            (Path(command[-1]) / "bin").mkdir(parents=True)
            (Path(command[-1]) / "bin" / "python").touch()

    monkeypatch.setattr(environments, "ENVIRONMENTS", tmp_path)
    monkeypatch.setattr(subprocess, "run", run)
    return commands


def test_torch_comes_first_and_is_pinned(pip: list[list[str]]) -> None:
    install("optimum_onnx")
    venv, torch, rest = pip
    assert venv[1:3] == ["-m", "venv"]
    assert torch[-1] == "torch" and "constraints.txt" in torch[-2]
    assert rest[-1].endswith("optimum_onnx.txt") and "-c" in rest


def test_who_needs_no_torch_gets_none(pip: list[list[str]]) -> None:
    install("openvino")
    assert not any(command[-1] == "torch" for command in pip)


def test_installed_once(pip: list[list[str]]) -> None:
    assert python_of("openvino") is None
    install("openvino")
    count = len(pip)
    install("openvino")
    assert len(pip) == count and python_of("openvino") is not None


def test_one_of_other_requirements_is_brought_up_to_date(pip: list[list[str]]) -> None:
    """Without a new environment, in which all would be compiled again."""
    install("openvino")
    (environments.ENVIRONMENTS / "openvino" / environments.MARK).write_text("openvino<2026\n")
    assert python_of("openvino") is None
    pip.clear()
    install("openvino")
    assert [command[-1].endswith("openvino.txt") for command in pip] == [True] and python_of("openvino") is not None


def distribution(environment: str, name: str, number: str) -> None:
    folder = (
        environments.ENVIRONMENTS / environment / "lib" / "python3" / "site-packages" / f"{name}-{number}.dist-info"
    )
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {number}\n")


def test_everybody_gets_the_onnxruntime_of_ours(pip: list[list[str]]) -> None:
    install("optimum_onnx")
    rest = pip[-1]
    pins = [Path(word) for flag, word in itertools.pairwise(rest) if flag == "-c"]
    pin = f"onnxruntime=={version('onnxruntime')}"
    assert pin in pins[-1].read_text() and pin in environments.wanted("optimum_onnx")
    assert "onnxruntime" not in environments.wanted("openvino")


def test_an_environment_with_another_onnxruntime_is_not_complete(pip: list[list[str]]) -> None:
    install("optimum_onnx")
    assert python_of("optimum_onnx") is None  # as pip has only been imagined
    distribution("optimum_onnx", "onnxruntime", version("onnxruntime"))
    assert python_of("optimum_onnx") is not None
    mark = environments.ENVIRONMENTS / "optimum_onnx" / environments.MARK
    mark.write_text(mark.read_text().replace(version("onnxruntime"), "1.0"))
    assert python_of("optimum_onnx") is None


def test_versions_are_read_from_files(pip: list[list[str]]) -> None:
    distribution("llama_cpp", "llama_cpp_python", "0.3")
    assert environments.installed("llama_cpp", ["llama-cpp-python", "gguf"]) == {"llama-cpp-python": "0.3"}


def test_one_that_fails_is_not_there_and_stops_no_other(
    pip: list[list[str]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    good = subprocess.run

    def run(command: list[str], **how: object) -> object:
        if command[-1].endswith("llama_cpp.txt"):
            raise subprocess.CalledProcessError(1, command)
        return good(command, **how)  # type: ignore[call-overload]

    monkeypatch.setattr(subprocess, "run", run)
    assert environments.main(["llama_cpp", "openvino"]) == 1
    assert python_of("llama_cpp") is None and python_of("openvino") is not None
    assert "llama_cpp could not be installed" in capsys.readouterr().err


@pytest.mark.parametrize("name", PEERS)
def test_every_peer_has_what_it_runs_from(name: str) -> None:
    peer = PEERS[name]
    assert peer.environment is None or peer.environment in NAMES
    assert (REQUIREMENTS.parent / f"{peer.module}.py").exists()
    assert peer.against and all(f"ours {precision}" in OURS for precision in peer.against)
    assert peer.settings and (peer.converted_by is None or peer.converted_by in PEERS)


@pytest.mark.parametrize("file", PEER_FILES, ids=lambda file: file.stem)
def test_an_adapter_is_short(file: Path) -> None:
    assert len(file.read_text().splitlines()) < 150


@pytest.mark.parametrize("name", CONTESTANTS)
def test_each_is_measured_on_its_devices_only(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    setting = Setting(folder=tmp_path, threads=1, device="cuda")
    monkeypatch.setattr(Setting, "source", lambda *_: tmp_path)
    monkeypatch.setattr(Setting, "_python", lambda *_: tmp_path)
    devices = CONTESTANTS[name].devices
    for device in ("cpu", "cuda"):
        if device in devices:
            assert setting.on(device).arguments(name).get("device", "") == devices[device]
        else:
            with pytest.raises(NotInstalled, match=f"on {next(iter(devices))} only"):
                setting.on(device).arguments(name)


def test_a_peer_that_is_not_installed_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(environments, "ENVIRONMENTS", tmp_path)
    with pytest.raises(NotInstalled, match="make bench-peers"):
        Setting(folder=tmp_path, threads=1).process("openvino")


@pytest.mark.parametrize("environment", NAMES)
def test_the_library_of_an_environment_is_found(environment: str) -> None:
    python = python_of(environment)
    if python is None:
        pytest.skip(f"{environment} is not installed")
    if environment == "optimum_onnx":
        pytest.skip("its import takes as long as all other tests of this folder")
    module = next(peer.full_module for peer in CONTESTANTS.values() if peer.environment == environment)
    with Worker(python, threads=1) as worker:
        worker.run(module, "import_all")
