"""Weights rounded as int4 blocks for the length of a forward and backward: training that survives `--precision int4`.

Straight-through: the gradient taken at the rounded weights moves the exact ones. Legend: V rows, K columns (inputs).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

BLOCK = 32


def round_int4(weight_VK: torch.Tensor) -> torch.Tensor:
    """Symmetric round-to-nearest in blocks of 32 along K, as int4 bundles do; the largest of a block sets the scale."""
    blocks = weight_VK.unflatten(-1, (-1, BLOCK))
    scale = (blocks.abs().amax(dim=-1, keepdim=True) / 7).clamp(min=torch.finfo(weight_VK.dtype).tiny)
    return ((blocks / scale).round() * scale).flatten(-2)


def int4_weights(language_model: nn.Module) -> list[nn.Parameter]:
    """What int4 rounds: every matrix of the language model, the (tied) table included."""
    return [parameter for parameter in language_model.parameters() if parameter.ndim == 2]


@contextmanager
def rounded(parameters: list[nn.Parameter]) -> Iterator[None]:
    """Inside, the parameters hold rounded values; after it, what they held before."""
    exact = [parameter.detach().clone() for parameter in parameters]
    with torch.no_grad():
        for parameter in parameters:
            parameter.copy_(round_int4(parameter))
    try:
        yield
    finally:
        with torch.no_grad():
            for parameter, value in zip(parameters, exact, strict=True):
                parameter.copy_(value)
