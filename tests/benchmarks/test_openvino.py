"""What the OpenVINO adapter says of itself, by a compiled model that is not there."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.peers.openvino import OpenVino, is_fused


class FakeAny:
    """OpenVINO's own box of a value, whose text is not that of the value."""

    def __init__(self, value: str) -> None:
        self._value = value

    def astype(self, kind: type) -> Any:
        return kind(self._value)


class FakeCompiled:
    def __init__(self, layers: list[str], precision: str) -> None:
        self._layers, self._precision = layers, precision

    def get_runtime_model(self) -> Any:
        nodes = [
            SimpleNamespace(get_rt_info=lambda layer=layer: {"layerType": FakeAny(layer)}) for layer in self._layers
        ]
        return SimpleNamespace(get_ops=lambda: nodes)

    def get_property(self, name: str) -> Any:
        return SimpleNamespace(get_type_name=lambda: self._precision) if "INFERENCE" in name else "u8"


def contestant(layers: list[str], precision: str = "f32") -> OpenVino:
    made = OpenVino.__new__(OpenVino)
    made._compiled, made._ov = FakeCompiled(layers, precision), SimpleNamespace(__version__="2026.4")
    return made


def test_a_cache_has_a_precision_only_where_attention_is_fused() -> None:
    fused, not_fused = contestant(["MatMul", "ScaledDotProductAttention"]), contestant(["MatMul", "Softmax"])
    assert is_fused(fused._compiled) and not is_fused(not_fused._compiled)
    assert "kv_cache_precision" in fused.versions() and "kv_cache_precision" not in not_fused.versions()


@pytest.mark.parametrize(("chosen", "precision"), [("f32", "fp32"), ("bf16", "bf16")])
def test_the_precision_is_the_one_that_was_chosen(chosen: str, precision: str) -> None:
    assert contestant([], chosen).precision() == precision


def test_a_step_after_going_back_is_not_timed() -> None:
    made = contestant([])
    steps: list[list[int]] = []
    made._go_back = lambda context: steps.clear()  # type: ignore[method-assign]
    made._step = steps.append  # type: ignore[method-assign]
    made.decode(10, 8)
    assert len(steps) == 9
