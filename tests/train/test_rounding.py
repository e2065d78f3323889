"""Weights rounded for a step: sixteen levels, those of the quantiser without its clipping, and exact ones after it."""

from __future__ import annotations

import pytest
import torch

from ovexport.precision.blocks import CLIP_RATIOS, dequantize_blocks, quantize_blocks
from ovexport.train.loop.rounding import BLOCK, int4_weights, round_int4, rounded
from ovexport.train.tiny.config import fresh_model, tiny_config
from ovexport.train.tiny.tokenizer import SPECIALS


@pytest.mark.parametrize("seed", range(10))
def test_rounded_weights_have_sixteen_levels_and_come_back_exact(seed: int) -> None:
    torch.manual_seed(seed)
    layer = torch.nn.Linear(96, 40)
    before = layer.weight.detach().clone()
    with rounded(int4_weights(layer)):
        inside = layer.weight.detach().clone()
    assert torch.equal(layer.weight, before)
    blocks, exact = inside.unflatten(1, (-1, BLOCK)), before.unflatten(1, (-1, BLOCK))
    scale = exact.abs().amax(dim=-1, keepdim=True) / 7
    assert torch.allclose(blocks / scale, (blocks / scale).round(), atol=1e-4), f"seed {seed}"
    assert ((blocks - exact).abs() <= scale / 2 + 1e-6).all(), f"seed {seed}"
    assert torch.allclose(round_int4(inside), inside, atol=1e-6), f"seed {seed}"


def test_they_come_back_after_an_error_too() -> None:
    layer = torch.nn.Linear(64, 8)
    before = layer.weight.detach().clone()
    with pytest.raises(KeyboardInterrupt), rounded(int4_weights(layer)):
        assert not torch.equal(layer.weight, before)
        raise KeyboardInterrupt
    assert torch.equal(layer.weight, before)


def test_levels_are_those_of_bundles_before_clipping(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CLIP_RATIOS, 4, (1.0,))
    for seed in range(10):
        weight_VK = torch.randn(50, 160, generator=torch.Generator().manual_seed(seed))
        weight_VK[seed] = 0
        theirs_VK = dequantize_blocks(quantize_blocks(weight_VK, bits=4, block_size=BLOCK), 160)
        assert torch.allclose(round_int4(weight_VK), theirs_VK, atol=1e-6), f"seed {seed}"


def test_gradients_are_those_at_the_rounded_weights() -> None:
    torch.manual_seed(0)
    layer, inputs_BK = torch.nn.Linear(64, 8, bias=False), torch.randn(5, 64)
    with rounded(int4_weights(layer)):
        layer(inputs_BK).square().sum().backward()
    there_VK = round_int4(layer.weight.detach()).requires_grad_(True)
    (inputs_BK @ there_VK.T).square().sum().backward()
    assert torch.allclose(layer.weight.grad, there_VK.grad, rtol=1e-5)


def test_every_matrix_of_ov_tiny_divides_into_blocks() -> None:
    config = tiny_config({name: number for number, name in enumerate(SPECIALS)})
    parameters = int4_weights(fresh_model(config, 0).language_model)
    assert len(parameters) == 1 + 7 * config.language.num_layers
    assert all(parameter.shape[1] % BLOCK == 0 for parameter in parameters)
