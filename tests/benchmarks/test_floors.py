"""Floors: counted weights against those of the model, operations against arithmetic by hand, and limits' types."""

from __future__ import annotations

import pytest

from benchmarks.floors import (
    Need,
    Shape,
    decode_bytes,
    encode_ops,
    head_weights,
    layer_weights,
    patches_of,
    prefill_ops,
    project_ops,
)
from benchmarks.limits import Limits
from benchmarks.scaled import of_all_layers
from benchmarks.shapes import QWEN2_0_5B, QWEN2_7B, SO400M
from ovexport.checkpoint import open_checkpoint
from ovexport.embedded import EMBEDDED_MODEL
from ovexport.model import LanguageModel

SHAPE = Shape(tower=SO400M, language=QWEN2_0_5B)
LIMITS = Limits(device="cpu", read_gb_per_s=10, gop_per_s={"fp32": 100, "bf16": 200, "int8": 400})


def test_weights_are_those_of_the_model() -> None:
    with open_checkpoint(EMBEDDED_MODEL) as checkpoint:
        language = checkpoint.config.language
    named = dict(LanguageModel(language).named_parameters())
    products = sum(value.numel() for name, value in named.items() if value.ndim == 2 and "embed" not in name)
    table = sum(value.numel() for name, value in named.items() if value.ndim == 2 and "embed" in name)
    assert language.num_layers * layer_weights(language) + head_weights(language) * (not table) == products
    assert head_weights(language) == table


def test_the_real_shapes() -> None:
    """0.5B has 494 million weights, 7B 7.6 billion without its separate table."""
    assert 24 * layer_weights(QWEN2_0_5B) + head_weights(QWEN2_0_5B) == pytest.approx(494e6, rel=0.01)
    assert 28 * layer_weights(QWEN2_7B) + 2 * head_weights(QWEN2_7B) == pytest.approx(7.6e9, rel=0.01)


def test_a_tile_takes_two_operations_per_weight_and_patch() -> None:
    weights = 26 * (4 * 1152**2 + 2 * 1152 * 4304) + 3 * 14**2 * 1152
    attention = 26 * 4 * 729**2 * 1152
    assert encode_ops(SO400M, 1) == 2 * 729 * weights + attention
    assert encode_ops(SO400M, 3) == 3 * encode_ops(SO400M, 1)


def test_attention_makes_a_prompt_cost_more_than_its_length() -> None:
    short, long = prefill_ops(QWEN2_0_5B, 1000), prefill_ops(QWEN2_0_5B, 8000)
    assert 8 * short < long < 16 * short


def test_a_step_reads_weights_and_cache() -> None:
    empty, full = decode_bytes(QWEN2_0_5B, 0, "int4"), decode_bytes(QWEN2_0_5B, 1000, "int4")
    assert empty == pytest.approx(494e6 * 4.5 / 8, rel=0.01)
    assert full - empty == 1000 * 24 * 2 * 2 * 64 * 2
    assert decode_bytes(QWEN2_0_5B, 0, "fp32") == pytest.approx(empty * 32 / 4.5)


@pytest.mark.parametrize(("precision", "rate"), [("fp32", 100), ("bf16", 200), ("int8", 400), ("q4_0", 400)])
def test_floors_are_of_the_type_that_is_calculated_in(precision: str, rate: float) -> None:
    found = SHAPE.need("prefill", 1000, precision).floor_ms(precision, LIMITS)
    assert found == pytest.approx(prefill_ops(QWEN2_0_5B, 1000) / rate / 1e6)
    found = SHAPE.need("decode", 1000, precision).floor_ms(precision, LIMITS)
    assert found == pytest.approx(decode_bytes(QWEN2_0_5B, 1000, precision) / 10e6)


def test_a_step_reads_what_the_contestant_says() -> None:
    """Ours in int4 has a file of 346 MB and keys and values in float32, which its precision's name does not tell."""
    reads = {"weights": 345.6e6, "per_token": 24576.0}
    found = SHAPE.need("decode", 1000, "int4", reads)
    assert found == Need(bytes=345.6e6 + 24.576e6)
    assert found.bytes > 1.2 * SHAPE.need("decode", 1000, "int4").bytes


def test_projecting_takes_two_layers_a_patch() -> None:
    assert project_ops(SO400M, QWEN2_0_5B, 2) == 2 * 2 * patches_of(SO400M) * (1152 * 896 + 896 * 896)


def test_a_device_without_integer_rate_is_measured_by_what_it_has() -> None:
    assert Limits(device="gpu", read_gb_per_s=1, gop_per_s={"fp32": 5}).rate_for("int4") == 5


def test_all_layers_from_one_and_two() -> None:
    head_ms, layer_ms = 3.0, 2.0
    assert of_all_layers(head_ms + layer_ms, head_ms + 2 * layer_ms, layers=28) == head_ms + 28 * layer_ms
