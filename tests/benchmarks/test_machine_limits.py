"""Limits of several times and of a GPU that is not there; figures are counted, not timed."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks import limits
from benchmarks.limits import GPU_SIDE, READ_BYTES, Limits, apart, best_of, of_gpu


def measured(read: float, fp32: float) -> Limits:
    return Limits(device="cpu", read_gb_per_s=read, gop_per_s={"fp32": fp32})


def test_the_best_of_each_figure_counts() -> None:
    assert best_of([measured(40, 300), measured(30, 400)]) == measured(40, 400)


def test_figures_that_differ_are_told() -> None:
    assert apart([measured(40, 300), measured(37, 310)]) == []
    assert apart([measured(40, 300), measured(30, 300), measured(41, 320)]) == ["reading: 30 to 41 in 3 times"]


class FakeEvent:
    def record(self) -> None: ...

    def synchronize(self) -> None: ...

    def elapsed_time(self, _: FakeEvent) -> float:
        return 2.0  # ms


class FakeTensor:
    def copy_(self, _: FakeTensor) -> None: ...


class FakeCuda:
    @staticmethod
    def is_available() -> bool:
        return True

    @staticmethod
    def get_device_name() -> str:
        return "a GPU"

    @staticmethod
    def Event(*, enable_timing: bool) -> FakeEvent:
        assert enable_timing
        return FakeEvent()


class FakeTorch:
    cuda = FakeCuda()
    float32, float16, bfloat16, uint8 = "float32", "float16", "bfloat16", "uint8"

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []

    def zeros(self, *shape: int, dtype: str, device: str) -> FakeTensor:
        assert device == "cuda"
        return FakeTensor()

    def randn(self, *shape: int, dtype: str, device: str) -> FakeTensor:
        assert device == "cuda"
        self.shapes.append(shape)
        return FakeTensor()

    def empty_like(self, _: FakeTensor) -> FakeTensor:
        return FakeTensor()

    def mm(self, *_: FakeTensor) -> None: ...


def test_a_gpu_copies_and_multiplies_large_matrices_by_its_own_clock() -> None:
    torch = FakeTorch()
    found = of_gpu(torch)
    assert found.device == "a GPU" and set(torch.shapes) == {(GPU_SIDE, GPU_SIDE)}
    assert found.read_gb_per_s == pytest.approx(2 * READ_BYTES / 2e-3 / 1e9)
    assert found.gop_per_s == pytest.approx(dict.fromkeys(("fp32", "fp16", "bf16"), 2 * GPU_SIDE**3 / 2e-3 / 1e9))


def test_the_device_that_is_asked_for_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where there is a GPU: everybody else is measured on the processor then."""

    def of_cpu(torch: Any, threads: int) -> Limits:
        return measured(1, 1)

    monkeypatch.setattr(limits, "_of_cpu", of_cpu)
    monkeypatch.setattr(limits, "of_gpu", lambda torch: Limits(device="a GPU", read_gb_per_s=1, gop_per_s={}))
    assert limits.measure(threads=1)["device"] == "cpu"
    assert limits.measure(threads=1, device="cuda")["device"] == "a GPU"
