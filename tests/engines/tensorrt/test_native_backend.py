"""What our side of TensorRT asks of it, and what it makes of the answers; TensorRT itself is a stand-in."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fake_tensorrt as trt
import pytest
from host_device import HostDevice
from tiny_engine import write_recipe

from ovengines.cuda.info import DeviceInfo
from ovengines.errors import ExitCode, OVError
from ovengines.tensorrt.backend import BuildRequest
from ovengines.tensorrt.monitor import STEPS
from ovengines.tensorrt.profiles import Profile
from ovengines.tensorrt.recipe import choose_recipe

TOUCHING = ("api", "builder", "plan", "native")
STREAM = 77
INFO = DeviceInfo(name="any", compute_capability=(8, 9), memory_bytes=1, driver="1")


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """The modules that import tensorrt, over the stand-in."""
    monkeypatch.setitem(sys.modules, "tensorrt", trt)
    names = [f"ovengines.tensorrt.{name}" for name in TOUCHING]
    for name in names:
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield SimpleNamespace(**{name.rpartition(".")[2]: importlib.import_module(name) for name in names})
    for name in names:
        sys.modules.pop(name, None)
    trt.reset()


@pytest.fixture
def backend(modules: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> Any:
    device = HostDevice()
    device.stream = STREAM  # type: ignore[attr-defined]
    runtime = SimpleNamespace(integer={"cudaDriverGetVersion": 12060}.__getitem__)
    monkeypatch.setattr(modules.native, "cuda_runtime", lambda: runtime)
    monkeypatch.setattr(modules.native, "CudaDevice", lambda runtime: device)
    return modules.native.NativeBackend()


@pytest.fixture
def request_(tmp_path: Path) -> BuildRequest:
    return BuildRequest(
        role="decoder",
        graph_file=tmp_path / "decoder.trt.onnx",
        profiles=(Profile(shapes={"x": ((1,), (2,), (3,))}), Profile(shapes={"x": ((1,), (1,), (1,))})),
        recipe=choose_recipe(INFO, write_recipe(tmp_path)),
        exact_float32=False,
        plugin=None,
        timing_cache=tmp_path / "timing.cache",
    )


def quiet(what: str, done: int, total: int) -> None:
    pass


def test_the_driver_says_which_cuda_it_serves(backend: Any) -> None:
    assert (backend.version, backend.cuda_major) == ("10.3.0", 12)


def test_a_build(backend: Any, request_: BuildRequest) -> None:
    told: list[tuple[str, int, int]] = []
    assert backend.build(request_, lambda *one: told.append(one)) == b"serialized"
    names = [name for name, _ in trt.asked]
    asked = dict(trt.asked)
    assert asked["network"] == 2, "strongly typed"
    assert asked["parse"] == str(request_.graph_file) and asked["WORKSPACE"] == 64 << 20
    assert asked["builder_optimization_level"] == 3 and asked["max_aux_streams"] == 0
    assert [value for name, value in trt.asked if name == "profile"] == [one.shapes for one in request_.profiles]
    assert "set" not in names and "clear" not in names and "hardware_compatibility_level" not in names
    assert request_.timing_cache.read_bytes() == b"+"
    assert told[0] == ("building the decoder engine", 0, STEPS) and told[-1][1] == STEPS


def test_a_build_with_every_option(backend: Any, request_: BuildRequest) -> None:
    recipe = replace(request_.recipe, hardware_compatibility="ampere_plus", resident_weights_percent=40)
    backend.build(replace(request_, recipe=recipe, exact_float32=True), quiet)
    asked = dict(trt.asked)
    assert asked["set"] == "WEIGHT_STREAMING" and asked["clear"] == "TF32"
    assert asked["hardware_compatibility_level"] is trt.HardwareCompatibilityLevel.AMPERE_PLUS
    recipe = replace(recipe, hardware_compatibility="same_compute_capability")
    assert "TensorRT 10.3.0 has no hardware_compatibility" in refusal(
        lambda: backend.build(replace(request_, recipe=recipe), quiet), ExitCode.USAGE
    )


def test_timings_are_kept_and_those_of_another_device_are_not(backend: Any, request_: BuildRequest) -> None:
    request_.timing_cache.write_bytes(b"mine")
    trt.timings.append(b"mine")
    backend.build(request_, quiet)
    assert request_.timing_cache.read_bytes() == b"mine+"
    trt.timings.clear()
    backend.build(request_, quiet)
    assert [value for name, value in trt.asked if name == "timings"] == [b"mine", b"mine+", b""]
    assert request_.timing_cache.read_bytes() == b"+"


def test_a_folder_that_takes_no_timings_does_no_harm(backend: Any, request_: BuildRequest, tmp_path: Path) -> None:
    nowhere = replace(request_, timing_cache=tmp_path / "nowhere" / "timing.cache")
    assert backend.build(nowhere, quiet) == b"serialized"


def refusal(call: Any, code: ExitCode) -> str:
    with pytest.raises(OVError) as caught:
        call()
    assert caught.value.code == code
    return f"{caught.value.message} / {caught.value.hint}"


def test_what_can_not_be_parsed_or_built_is_told_with_the_reason(backend: Any, request_: BuildRequest) -> None:
    trt.fails.add("parse")
    told = refusal(lambda: backend.build(request_, quiet), ExitCode.BUNDLE_INVALID)
    assert "can't parse decoder.trt.onnx: node 7: No importer registered for op: Abacus / build the bundle" in told
    trt.fails.clear()
    trt.fails.add("build")
    told = refusal(lambda: backend.build(request_, quiet), ExitCode.BUNDLE_INVALID)
    assert "TensorRT 10.3.0 can't build decoder.trt.onnx: no tactic fits / try a recipe with more" in told
    assert not request_.timing_cache.exists()


def test_an_interrupt_ends_the_build(backend: Any, request_: BuildRequest) -> None:
    def interrupt(what: str, done: int, total: int) -> None:
        if (what, done) != ("building the decoder engine", 0):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        backend.build(request_, interrupt)


def test_a_plan_and_its_executors(backend: Any, request_: BuildRequest, tmp_path: Path) -> None:
    file = tmp_path / "engine.plan"
    file.write_bytes(b"serialized")
    plan = backend.load(file, request_.recipe, None)
    assert plan.scratch_bytes == 4096 and ("load", b"serialized") in trt.asked
    scratch = backend.device.allocate(4096)
    executor = plan.executor(1, scratch)
    executor.set_shape("x", (1, 2))
    executor.bind("x", 512)
    executor.enqueue()
    assert trt.asked[1:] == [
        ("context", "USER_MANAGED"),
        ("profile", (1, STREAM)),
        ("scratch", (scratch.address, 4096)),
        ("shape", ("x", (1, 2))),
        ("address", ("x", 512)),
        ("enqueue", STREAM),
    ]
    for name, call, told in (
        ("shape", lambda: executor.set_shape("x", (1, 2)), "refuses the shape [1, 2] of x"),
        ("address", lambda: executor.bind("x", 512), "refuses the address of x"),
        ("enqueue", executor.enqueue, "can't run"),
    ):
        trt.fails.add(name)
        assert told in refusal(call, ExitCode.UNEXPECTED)
    for name in ("profile", "context"):
        trt.fails.add(name)
        assert "can't make an execution context" in refusal(lambda: plan.executor(0, scratch), ExitCode.OUT_OF_MEMORY)


def test_streamed_weights_get_their_share_before_the_first_context(
    backend: Any, request_: BuildRequest, tmp_path: Path
) -> None:
    file = tmp_path / "engine.plan"
    file.write_bytes(b"serialized")
    backend.load(file, replace(request_.recipe, resident_weights_percent=40), None)
    assert trt.asked == [("load", b"serialized"), ("weight_streaming_budget_v2", 400)]


def test_a_plan_that_does_not_load_is_told_with_the_reason(
    backend: Any, request_: BuildRequest, tmp_path: Path
) -> None:
    file = tmp_path / "engine.plan"
    file.write_bytes(b"old")
    trt.fails.add("load")
    told = refusal(lambda: backend.load(file, request_.recipe, None), ExitCode.BUNDLE_INVALID)
    assert f"TensorRT 10.3.0 can't load the engine {file}: Version tag does not match" in told


def test_the_plugin_is_loaded_once(backend: Any, request_: BuildRequest, tmp_path: Path) -> None:
    file, plugin = tmp_path / "engine.plan", tmp_path / "libovk_tensorrt10_cuda12.so"
    file.write_bytes(b"serialized")
    trt.fails.add("plugin")
    told = refusal(lambda: backend.load(file, request_.recipe, plugin), ExitCode.MISSING_DEPENDENCY)
    assert f"can't load the plugin {plugin}" in told
    trt.reset()
    backend.build(replace(request_, plugin=plugin), quiet)
    backend.load(file, request_.recipe, plugin)
    assert [value for name, value in trt.asked if name == "plugin"] == [str(plugin)]
