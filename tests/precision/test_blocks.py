"""Block quantisation: bounds on its error, and what ONNX Runtime makes of the packed form."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from ovexport.precision.blocks import BlockForm, dequantize_blocks, quantize_blocks, quantize_ranges
from ovexport.precision.policy import BLOCK_FORMS
from ovexport.precision.weights import block_weights


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("columns", [32, 96, 100, 588])
def test_error_is_at_most_half_a_step_inside_the_range(bits: int, columns: int) -> None:
    for seed in range(5):
        weight_NK = torch.randn(300, columns, generator=torch.Generator().manual_seed(seed))
        blocks = quantize_blocks(weight_NK, bits=bits, block_size=32)
        error_NK = (dequantize_blocks(blocks, columns) - weight_NK).abs()
        scale_NK = blocks.scale_NG.repeat_interleave(32, 1)[:, :columns]
        limit = 2 ** (bits - 1) - 1
        inside = weight_NK.abs() <= scale_NK * limit
        assert (error_NK[inside] <= scale_NK[inside] * 0.5001).all(), f"seed {seed}"
        relative = (error_NK.square().sum() / weight_NK.square().sum()).sqrt()
        assert relative < {4: 0.092, 8: 0.006}[bits], f"seed {seed}: {relative}"


def test_clipping_beats_plain_rounding() -> None:
    weight_NK = torch.randn(64, 896, generator=torch.Generator().manual_seed(0))
    blocks_NGE = weight_NK.unflatten(1, (-1, 32))
    step_NG1 = blocks_NGE.abs().amax(-1, keepdim=True) / 7
    plain = ((blocks_NGE / step_NG1).round() * step_NG1).flatten(1)
    chosen = dequantize_blocks(quantize_blocks(weight_NK, bits=4, block_size=32), 896)
    assert (chosen - weight_NK).norm() < 0.95 * (plain - weight_NK).norm()


def test_zeros_and_outliers() -> None:
    weight_NK = torch.zeros(2, 64)
    weight_NK[1, 3] = 1e4
    for bits in (4, 8):
        restored = dequantize_blocks(quantize_blocks(weight_NK, bits=bits, block_size=32), 64)
        assert torch.allclose(restored, weight_NK, rtol=1e-6), bits


@pytest.mark.parametrize("columns", [128, 96, 100, 588])
@pytest.mark.parametrize("shift", [0.0, 0.7, -3.0])
def test_zero_points_make_a_smaller_error(columns: int, shift: float) -> None:
    for seed in range(5):
        weight_NK = torch.randn(300, columns, generator=torch.Generator().manual_seed(seed)) + shift
        errors = [
            (dequantize_blocks(quantize(weight_NK, bits=4, block_size=32), columns) - weight_NK).norm()
            for quantize in (quantize_blocks, quantize_ranges)
        ]
        assert errors[1] < 0.95 * errors[0], f"seed {seed}: {errors}"


def test_zero_points_keep_zeros_and_outliers() -> None:
    weight_NK = torch.zeros(4, 256)
    weight_NK[1, 3], weight_NK[2, 200], weight_NK[3, 5], weight_NK[3, 6] = 1e4, -1e4, 7.0, -8.0
    blocks = quantize_ranges(weight_NK, bits=4, block_size=128)
    assert torch.allclose(dequantize_blocks(blocks, 256), weight_NK, rtol=1e-5)
    assert blocks.zero_NG is not None and blocks.zero_NG.abs().max() <= 8


@pytest.mark.parametrize(
    ("form", "columns", "block_size"),
    [
        ("int8/32", 4304, 32),
        ("int8/128", 896, 128),
        ("int8/128", 160, 32),
        ("int8/128", 100, 32),
        ("int4/128+zero", 4864, 128),
        ("int4/128+zero", 18944, 128),
        ("int4/128", 896, 128),
        ("int4/128", 960, 64),
        ("int4/128", 160, None),
    ],
)
def test_blocks_are_halved_until_they_divide(form: str, columns: int, block_size: int | None) -> None:
    assert BLOCK_FORMS[form].block_for(columns) == block_size


@pytest.mark.parametrize("form_name", [name for name, form in BLOCK_FORMS.items() if form.pads])
@pytest.mark.parametrize("columns", [64, 100, 256, 384])
def test_packing_is_what_matmulnbits_reads(form_name: str, columns: int) -> None:
    form = BLOCK_FORMS[form_name]
    weight_NK = torch.randn(48, columns, generator=torch.Generator().manual_seed(1)) + 0.3
    weights = block_weights(lambda _: weight_NK, ["w"], form, 48, columns)
    parts = {"codes": weights.codes, "scales": weights.scales, **({"zeros": weights.zeros} if weights.zeros else {})}
    arrays = {name: np.concatenate(list(weight.pieces())) for name, weight in parts.items()}
    for name, weight in parts.items():
        assert arrays[name].shape == weight.shape
        np.testing.assert_array_equal(arrays[name], np.concatenate(list(weight.pieces())), err_msg="made anew")
    attrs = {"K": columns, "N": 48, "bits": form.bits, "block_size": form.block_for(columns), "accuracy_level": 1}
    node = helper.make_node("MatMulNBits", ["x", *arrays], ["y"], domain="com.microsoft", **attrs)
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, columns])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    x_MK = np.random.default_rng(2).standard_normal((5, columns), np.float32)
    expected = x_MK @ dequantize_blocks(form.quantize(weight_NK), columns).numpy().T
    assert np.abs(session.run(None, {"x": x_MK})[0] - expected).max() < 1e-4 * np.abs(expected).max()


def test_a_matrix_that_is_in_no_blocks_is_refused() -> None:
    with pytest.raises(AssertionError, match="not in blocks"):
        BlockForm(bits=4, block_size=128, least_block_size=64, pads=False).quantize(torch.zeros(2, 100))
