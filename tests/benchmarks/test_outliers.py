"""Outliers: what is planted, how activations are rounded, and that ours is the kernel's own rounding by blocks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks import outliers
from benchmarks.outliers import (
    CHANNELS,
    FORMS,
    Error,
    Measured,
    OurProduct,
    RoundedProduct,
    error,
    measure,
    random_layer,
    round_blocks,
    round_rows,
    round_tensor,
    table,
)
from ovexport.model import VisionConfig
from ovexport.precision.blocks import dequantize_blocks, quantize_blocks

SMALL = VisionConfig(hidden=64, intermediate=144, num_layers=2, num_heads=2, image_size_px=28, patch_size_px=14)


def layer_of(factor: float) -> nn.Module:
    return random_layer(SMALL, factor, torch.Generator().manual_seed(0))


def activations(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def test_some_channels_are_larger_and_their_columns_smaller() -> None:
    plain, planted = layer_of(1), layer_of(100)
    larger = planted.layer_norm1.weight / plain.layer_norm1.weight
    assert sorted(larger.tolist()) == pytest.approx([1] * (64 - CHANNELS) + [100] * CHANNELS)
    columns = (planted.self_attn.q_proj.weight / plain.self_attn.q_proj.weight)[0]
    assert ((columns < 0.1) == (larger > 10)).all()


@pytest.mark.parametrize("factor", [1.0, 30.0, 100.0])
def test_outliers_are_half_of_a_product(factor: float) -> None:
    layer, x_PD = layer_of(factor), activations(1, 400, 64)
    made = layer.self_attn.k_proj(layer.layer_norm1(x_PD)) - layer.self_attn.k_proj.bias
    assert made.square().mean() == pytest.approx(outliers.QUERY_GAIN**2, rel=0.4)


def test_rounding_by_rows_tensor_and_blocks() -> None:
    """Beside an outlier little is left of the others, in its row, in all rows, or in its block alone."""
    x_PK = activations(2, 64)
    x_PK[0, 3] = 1000
    lost = {name: (rounded(x_PK) - x_PK).abs() for name, rounded in ROUNDINGS.items()}
    assert lost["rows"][0].max() > 1 and lost["rows"][1].max() < 0.02
    assert lost["tensor"][1].max() > 1
    assert lost["blocks"][0, :32].max() > 1 and lost["blocks"][0, 32:].max() < 0.02


ROUNDINGS = {"rows": round_rows, "tensor": round_tensor, "blocks": round_blocks}


@pytest.mark.parametrize("rounding", ROUNDINGS.values(), ids=ROUNDINGS)
def test_nothing_stays_nothing(rounding: outliers.Round) -> None:
    assert not rounding(torch.zeros(2, 40)).any()


@pytest.mark.parametrize("columns", [64, 144])
def test_ours_rounds_activations_by_blocks(columns: int) -> None:
    """ONNX Runtime's product is, up to float32, that of rounded activations and rounded weights."""
    weight_NK, bias_N, x_PK = activations(48, columns), activations(48), 10 * activations(1, 5, columns)
    rounded_NK = dequantize_blocks(quantize_blocks(weight_NK, bits=8, block_size=32), columns)
    expected = RoundedProduct(rounded_NK, bias_N, round_blocks)(x_PK)
    found = OurProduct(weight_NK, bias_N)(x_PK)
    without = RoundedProduct(rounded_NK, bias_N, lambda x: x)(x_PK)
    assert error(found, expected).rms < 0.2 * error(found, without).rms


def test_errors_of_all_forms() -> None:
    found = measure(SMALL, 30, patches=6)
    assert list(found) == [form.name for form in FORMS]
    for one in found.values():
        assert len(one.layers) == len(one.features) == SMALL.num_layers
        assert all(0 < each.rms < 1 and each.cosine < 1 for each in (*one.layers, *one.features))
    weights, ours, row = (found[name].layers[0].rms for name in ("weights only", "ours: by blocks of 32", "by row"))
    assert weights < ours < row


def test_smoothing_leaves_the_product_as_it_is() -> None:
    layer, x_PD = layer_of(30), activations(1, 6, 64)
    expected_PD, peaks = outliers._with_peaks(layer, x_PD)
    for name, linear in outliers._linears(layer):
        weights = outliers._weights(linear, peaks[name], True, name)
        np.testing.assert_allclose(weights.weight_NK / weights.scale_K, linear.weight, rtol=1e-5)
        assert (weights.scale_K == 1).all() == (name == outliers.NOT_SMOOTHED)
    np.testing.assert_array_equal(expected_PD, layer(x_PD))


def test_the_table_has_groups_of_layers_and_the_worst() -> None:
    errors = [Error(rms=0.01 * (i + 1), cosine=1 - 0.1 * i) for i in range(3)]
    one = {"one": Measured(layers=errors, features=errors)}
    lines = table({1: one, 30: one}).splitlines()
    groups = ["layers 1 to 1", "layers 2 to 2", "layers 3 to 3", "worst layer", "features after all layers"]
    assert [cell.strip() for cell in lines[0].split("|")[3:-1]] == groups
    cells = "1.00% (1.0000) | 2.00% (0.9000) | 3.00% (0.8000) | 3.00% (0.8000) | 3.00% (0.8000)"
    assert lines[2:] == [f"| none | one | {cells} |", f"| x 30 | one | {cells} |"]
