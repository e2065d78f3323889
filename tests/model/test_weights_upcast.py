"""float32 arithmetic over 16-bit weights: the same numbers as a float32 copy, and no weight is changed or kept wide."""

from __future__ import annotations

import copy

import pytest
import torch
from tiny_oracle import pair, relative_error

from ovexport.model import upcast, weights_upcast
from ovrun.tiling.plan import plan_image


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("seed", range(4))
def test_equals_a_float32_copy(seed: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upcast, "CHUNK_ELEMENTS", 300)  # several chunks even of the tiny matrices
    model, _ = pair(seed)
    model.to(dtype)
    wide = copy.deepcopy(model).float()
    plan = plan_image(50, 70, model.config.geometry)
    size_px = model.config.vision.image_size_px
    pixels_NCHW = torch.randn(plan.num_tiles, 3, size_px, size_px)
    ids_S = torch.tensor([4, *[model.config.image_token_id] * plan.num_tokens, 9])
    with torch.no_grad(), weights_upcast(model):
        got = model(ids_S[None], pixels_NCHW, [plan]).logits_BKV
    with torch.no_grad():
        expected = wide(ids_S[None], pixels_NCHW, [plan]).logits_BKV
    assert got.dtype == torch.float32
    assert relative_error(got, expected) < 1e-5, f"seed {seed}"
    assert {parameter.dtype for parameter in model.parameters()} == {dtype}
    with torch.no_grad():
        assert model(ids_S[None], pixels_NCHW.to(dtype), [plan]).logits_BKV.dtype == dtype, "undone at the end"


def test_no_chunk_is_wider_than_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    widened: list[int] = []
    real = torch.Tensor.to

    def spy(tensor: torch.Tensor, *args: object, **kwargs: object) -> torch.Tensor:
        if tensor.dtype == torch.bfloat16:
            widened.append(tensor.numel())
        return real(tensor, *args, **kwargs)

    monkeypatch.setattr(upcast, "CHUNK_ELEMENTS", 1000)
    monkeypatch.setattr(torch.Tensor, "to", spy)
    weight_OI, x = torch.randn(777, 50).bfloat16(), torch.randn(3, 50)
    y = upcast.linear(x, weight_OI)
    assert y.shape == (3, 777) and len(widened) == 39 and max(widened) <= 1000


def test_undone_after_an_error_and_not_nested() -> None:
    model, _ = pair(0)
    with pytest.raises(KeyError), weights_upcast(model):
        raise KeyError
    assert not any("forward" in module.__dict__ for module in model.modules())
    with weights_upcast(model), pytest.raises(RuntimeError, match="nest"), weights_upcast(model.language_model):
        pass
