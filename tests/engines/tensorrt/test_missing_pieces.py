"""What is told where TensorRT, its libraries, the plugin or CUDA is not there, and the command that starts a build."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from host_device import OrtBackend
from tiny_model import TinyModel, write_bundle

from ovengines import open_bundle
from ovengines.errors import ExitCode, OVError
from ovengines.tensorrt import __main__ as command
from ovengines.tensorrt import presence
from ovengines.tensorrt.engine import TensorRTEngine
from ovengines.tensorrt.opening import open_tensorrt
from ovengines.tensorrt.presence import (
    PLUGIN_VARIABLE,
    find_plugin,
    install_hint,
    missing,
    require_tensorrt,
    tensorrt_cuda_major,
)


@pytest.fixture
def without_tensorrt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    monkeypatch.setattr(presence, "find_spec", lambda name: None)


@pytest.mark.usefixtures("without_tensorrt")
def test_without_tensorrt_the_command_that_installs_it_is_told(tmp_path: Path) -> None:
    bundle = open_bundle(write_bundle(tmp_path / "bundle", TinyModel()))
    for call in (require_tensorrt, lambda: open_tensorrt(bundle)):
        with pytest.raises(OVError) as caught:
            call()
        assert caught.value.code == ExitCode.MISSING_DEPENDENCY == 6
        assert caught.value.message == missing() == "TensorRT's Python package is not installed"
        assert caught.value.hint.startswith("pip install tensorrt-cu13")


def test_a_folder_of_that_name_is_not_tensorrt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if missing() is None:
        pytest.skip("TensorRT is installed")
    (tmp_path / "tensorrt").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    assert missing()


def test_on_a_jetson_it_comes_with_jetpack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nv_tegra_release").write_text("# R36 (release), REVISION: 4.3")
    monkeypatch.setattr(presence, "JETSON_FILE", tmp_path / "nv_tegra_release")
    assert "sudo apt install python3-libnvinfer" in install_hint() and "--system-site-packages" in install_hint()


def test_a_package_whose_libraries_are_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tensorrt.py").write_text("raise ImportError('libnvinfer.so.10: cannot open shared object file')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
    with pytest.raises(OVError, match="TensorRT can't be loaded: libnvinfer") as caught:
        require_tensorrt()
    assert caught.value.code == ExitCode.MISSING_DEPENDENCY and caught.value.hint


def test_the_plugin_is_named_by_the_environment_or_lies_in_ovkernels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PLUGIN_VARIABLE, str(tmp_path / "nowhere.so"))
    assert "nowhere.so, which is no file" in plugin_refusal()
    monkeypatch.delenv(PLUGIN_VARIABLE)
    package = tmp_path / "ovkernels"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "ovkernels", raising=False)
    assert plugin_refusal() == "the TensorRT plugin of ovkernels is not built"
    (package / "lib").mkdir()
    (package / "lib" / "libovk_tensorrt11_cuda13_registered.so").write_bytes(b"")
    (package / "lib" / "libovk_tensorrt11_cuda13.so").write_bytes(b"")
    assert find_plugin(11, 13) == package / "lib" / "libovk_tensorrt11_cuda13.so"
    assert plugin_refusal() == "the plugin libovk_tensorrt11_cuda13.so is not for TensorRT 10"


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package ovkernels with a plugin for each of two CUDAs."""
    folder = tmp_path / "ovkernels"
    folder.mkdir()
    (folder / "__init__.py").touch()
    for cuda in (12, 13):
        (folder / f"libovk_tensorrt10_cuda{cuda}.so").write_bytes(b"")
    monkeypatch.delenv(PLUGIN_VARIABLE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "ovkernels", raising=False)
    return folder


@pytest.mark.parametrize(
    ("driver", "package", "taken"), [(13, None, 13), (13, 12, 12), (13, 13, 13), (12, None, 12), (12, 13, 12)]
)
def test_the_plugin_is_of_the_cuda_of_driver_and_tensorrt(
    plugins: Path, monkeypatch: pytest.MonkeyPatch, driver: int, package: int | None, taken: int
) -> None:
    monkeypatch.setattr(presence, "tensorrt_cuda_major", lambda: package)
    assert find_plugin(10, driver) == plugins / f"libovk_tensorrt10_cuda{taken}.so"


def test_a_plugin_for_something_else_is_refused_even_if_it_is_named(
    plugins: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PLUGIN_VARIABLE, str(plugins / "libovk_tensorrt10_cuda13.so"))
    assert find_plugin(10, 13).name == "libovk_tensorrt10_cuda13.so"
    told = "the plugin libovk_tensorrt10_cuda13.so needs a driver for CUDA 13, and this one serves CUDA 12"
    assert plugin_refusal(12) == told
    other = (plugins / "libovk_tensorrt10_cuda13.so").rename(plugins / "libovk_tensorrt11_cuda13.so")
    monkeypatch.setenv(PLUGIN_VARIABLE, str(other))
    assert plugin_refusal() == "the plugin libovk_tensorrt11_cuda13.so is not for TensorRT 10"


@pytest.mark.parametrize(("installed", "major"), [((), None), ((12,), 12), ((13,), 13), ((12, 13), None)])
def test_the_cuda_of_tensorrt_is_that_of_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, installed: tuple[int, ...], major: int | None
) -> None:
    for cuda in installed:
        folder = tmp_path / f"tensorrt_cu{cuda}-10.16.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: tensorrt_cu{cuda}\nVersion: 10.16\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert tensorrt_cuda_major() == major


def plugin_refusal(cuda_major: int = 13) -> str:
    with pytest.raises(OVError) as caught:
        find_plugin(10, cuda_major)
    assert caught.value.code == ExitCode.MISSING_DEPENDENCY and PLUGIN_VARIABLE in caught.value.hint
    return caught.value.message


def test_a_text_needs_no_plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PLUGIN_VARIABLE, str(tmp_path / "nowhere.so"))
    engine = TensorRTEngine(open_bundle(write_bundle(tmp_path / "bundle", TinyModel())), OrtBackend(), recipe="any")
    engine.load("vision", "decoder")
    with pytest.raises(OVError, match="no file"):
        engine.load("projector")


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    folder, asked = write_bundle(tmp_path / "bundle", TinyModel()), []
    monkeypatch.setattr(command, "build_in_child", lambda *args, **options: asked.append((args[:2], options)))
    assert command.main([str(folder), "--recipe", "orin-nano", "--force"]) == 0
    assert asked == [
        ((folder, role), {"recipe": "orin-nano", "force": True}) for role in ("projector", "vision", "decoder")
    ]
    assert command.main([str(tmp_path / "nothing")]) == ExitCode.BUNDLE_INVALID
    assert "hint: make one with" in capsys.readouterr().err
    monkeypatch.setattr(command, "build_in_child", interrupted)
    assert command.main([str(folder)]) == ExitCode.INTERRUPTED


def interrupted(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_nothing_of_tensorrt_is_imported_before_it_is_asked_for() -> None:
    code = (
        "import sys; import ovengines, ovengines.tensorrt.opening, ovengines.tensorrt.__main__, ovengines.cuda.device;"
        "sys.exit('tensorrt' in sys.modules or 'onnxruntime' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], env=dict(os.environ), check=False).returncode == 0
