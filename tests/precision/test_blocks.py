"""Block quantisation: bounds on its error, and what ONNX Runtime makes of the packed form."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from ovexport.precision.blocks import dequantize_blocks, quantize_blocks
from ovexport.precision.weights import BLOCK_SIZE, block_codes, block_scales


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


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("columns", [64, 100])
def test_packing_is_what_matmulnbits_reads(bits: int, columns: int) -> None:
    weight_NK = torch.randn(48, columns, generator=torch.Generator().manual_seed(1))
    codes = np.concatenate(list(block_codes(lambda _: weight_NK, ["w"], bits, 48, columns).pieces()))
    scales = np.concatenate(list(block_scales(lambda _: weight_NK, ["w"], bits, 48, columns).pieces()))
    attrs = {"K": columns, "N": 48, "bits": bits, "block_size": BLOCK_SIZE, "accuracy_level": 1}
    node = helper.make_node("MatMulNBits", ["x", "codes", "scales"], ["y"], domain="com.microsoft", **attrs)
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, columns])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(codes, "codes"), numpy_helper.from_array(scales, "scales")],
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    x_MK = np.random.default_rng(2).standard_normal((5, columns), np.float32)
    expected = x_MK @ dequantize_blocks(quantize_blocks(weight_NK, bits=bits, block_size=32), columns).numpy().T
    assert np.abs(session.run(None, {"x": x_MK})[0] - expected).max() < 1e-4 * np.abs(expected).max()
