"""What each device would still need, from the facts of machines of every kind."""

from __future__ import annotations

from pathlib import Path

import pytest

from ovengines.doctor import Fact, targets
from ovengines.doctor.facts import ABSENT, PROBES, machine_facts
from ovengines.doctor.targets import Target

SERVER = {
    "GPU": "NVIDIA H200, sm_90, 139.7 GiB",
    "NVIDIA driver": "580.65.06",
    "CUDA runtime": "13.0",
    "CUDA libraries": "CUDA 13: cublasLt, cublas, cufft, curand, cudart",
    "cuDNN": "9.14.0",
    "ONNX Runtime": "1.31.1: Tensorrt, CUDA, CPU",
    "TensorRT libraries": "10.16.1",
    "TensorRT for Python": "10.16.1.11",
}


def found(**known: str) -> dict[str, Target]:
    facts = {**dict.fromkeys(PROBES, ABSENT), **{name.replace("_", " "): value for name, value in known.items()}}
    return {target.device: target for target in targets([Fact(name=n, value=v) for n, v in facts.items()])}


def lacks(target: Target) -> list[str]:
    return [need.name for need in target.missing]


def test_a_bare_machine_lacks_everything_and_says_how_to_get_it() -> None:
    bare = found()
    assert not any(target.ready for target in bare.values())
    assert lacks(bare["cpu"]) == ["ONNX Runtime with CPU"]
    assert {"NVIDIA driver", "GPU", "cuDNN 9"} <= set(lacks(bare["cuda"]))
    assert {"TensorRT for Python", "TensorRT libraries"} <= set(lacks(bare["tensorrt"]))
    assert all(need.command for target in bare.values() for need in target.missing)


def test_a_server_is_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    server = found(**SERVER)
    assert server["cpu"].ready and server["cuda"].ready
    assert lacks(server["tensorrt"]) == ["plugin of ovkernels"]
    monkeypatch.setenv("OVK_TENSORRT_PLUGIN", __file__)
    assert found(**SERVER)["tensorrt"].ready


def test_the_wheel_for_cpus_has_to_go_before_that_for_gpus() -> None:
    (need,) = found(**{**SERVER, "ONNX Runtime": "1.31.1: CPU"})["cuda"].missing
    assert need.command.startswith("pip uninstall onnxruntime; ")
    (need,) = found(**{**SERVER, "ONNX Runtime": ABSENT})["cuda"].missing
    assert need.command.startswith("pip install")


def test_a_jetson_is_told_of_jetpack() -> None:
    (need,) = found(**{**SERVER, "Jetson": "Orin", "ONNX Runtime": ABSENT})["cuda"].missing
    assert "JetPack" in need.command and "pip install 'ovexport[gpu]'" not in need.command


def test_an_old_cudnn_is_none() -> None:
    assert lacks(found(**{**SERVER, "cuDNN": "8.9.7"})["cuda"]) == ["cuDNN 9"]


def test_each_library_that_the_cuda_provider_is_linked_with_is_needed() -> None:
    (need,) = found(**{**SERVER, "CUDA libraries": "CUDA 13: cublasLt, cufft, curand, cudart"})["cuda"].missing
    assert need.name == "CUDA libraries (libcublas)"
    assert need.command == "pip install 'onnxruntime-gpu[cuda,cudnn]'"
    (need,) = found(**{**SERVER, "Jetson": "Orin", "CUDA libraries": ABSENT})["cuda"].missing
    assert need.command == "sudo apt install nvidia-jetpack" and "libcurand" in need.name


def test_libraries_of_another_version_than_the_package_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin = tmp_path / "libovk_tensorrt10_cuda13.so"
    plugin.touch()
    monkeypatch.setenv("OVK_TENSORRT_PLUGIN", str(plugin))
    assert found(**SERVER)["tensorrt"].ready
    (need,) = found(**{**SERVER, "TensorRT libraries": "11.4.0", "TensorRT for Python": "10.3.0"})["tensorrt"].missing
    assert need.name == "TensorRT libraries 10.3, the version of its Python package (there is 11.4.0)"
    assert need.command
    newer = {**SERVER, "TensorRT libraries": "11.4.0", "TensorRT for Python": "11.4.0.5"}
    assert lacks(found(**newer)["tensorrt"]) == ["plugin of ovkernels"], "it is for 10"


def test_a_plugin_for_a_newer_cuda_than_the_driver_serves_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin = tmp_path / "libovk_tensorrt10_cuda13.so"
    plugin.touch()
    monkeypatch.setenv("OVK_TENSORRT_PLUGIN", str(plugin))
    assert lacks(found(**{**SERVER, "CUDA runtime": "12.6"})["tensorrt"]) == ["plugin of ovkernels"]


def test_this_machine_has_a_value_for_every_probe() -> None:
    facts = machine_facts()
    assert [fact.name for fact in facts] == list(PROBES) and all(fact.value for fact in facts)
    assert next(target for target in targets(facts) if target.device == "cpu").ready, "these tests run on it"
