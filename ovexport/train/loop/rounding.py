"""Weights rounded as int4 blocks for the length of a forward and backward: training that survives `--precision int4`.

Straight-through: the gradient taken at the rounded weights moves the exact ones. Weights may be sharded by rows, since
blocks lie within a row. Legend: V rows, K columns (inputs).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import nn
from torch.distributed.tensor import DTensor

BLOCK = 32


def round_int4(weight_VK: torch.Tensor) -> torch.Tensor:
    """Symmetric round-to-nearest in blocks of 32 along K, as int4 bundles do; the largest of a block sets the scale."""
    columns = weight_VK.shape[1]
    blocks = F.pad(weight_VK, (0, -columns % BLOCK)).unflatten(-1, (-1, BLOCK))
    scale = (blocks.abs().amax(dim=-1, keepdim=True) / 7).clamp(min=torch.finfo(weight_VK.dtype).tiny)
    return ((blocks / scale).round() * scale).flatten(-2)[:, :columns]


def int4_weights(language_model: nn.Module) -> list[nn.Parameter]:
    """What int4 rounds: every matrix of the language model, the (tied) table included."""
    return [parameter for parameter in language_model.parameters() if parameter.ndim == 2]


@contextmanager
def rounded(parameters: list[nn.Parameter]) -> Iterator[None]:
    """Inside, the parameters hold rounded values; after it, what they held before."""
    own = [_own_rows(parameter) for parameter in parameters]
    exact = [weight_VK.clone() for weight_VK in own]
    for weight_VK in own:
        weight_VK.copy_(round_int4(weight_VK))
    try:
        yield
    finally:
        for weight_VK, value_VK in zip(own, exact, strict=True):
            weight_VK.copy_(value_VK)


def _own_rows(parameter: nn.Parameter) -> torch.Tensor:
    """Shares its storage with the parameter, or with this process's shard of it."""
    values = parameter.detach()
    return values.to_local() if isinstance(values, DTensor) else values
