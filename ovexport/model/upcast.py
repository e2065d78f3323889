"""Arithmetic in a wider dtype than the weights are stored in, one weight at a time.

A float32 reference over a bfloat16 checkpoint then costs about the bytes of the checkpoint: parameters stay
as they are (memory-mapped, perhaps), and each leaf operation widens its own weight for the duration of its
own forward.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

CHUNK_ELEMENTS = 1 << 24  # of one widened weight: 64 MiB in float32


def linear(x: torch.Tensor, weight_OI: torch.Tensor, bias_O: torch.Tensor | None = None) -> torch.Tensor:
    """x @ weight' + bias in the dtype of x; a weight of another dtype is widened some rows at a time."""
    if weight_OI.dtype == x.dtype:
        return F.linear(x, weight_OI, bias_O)
    y = linear_by_rows(x, weight_OI, lambda chunk_OI: chunk_OI.to(x.dtype), CHUNK_ELEMENTS)
    return y if bias_O is None else y + bias_O.to(x.dtype)


def linear_by_rows(
    x: torch.Tensor, weight_OI: torch.Tensor, read: Callable[[torch.Tensor], torch.Tensor], most_elements: int
) -> torch.Tensor:
    """x @ read(weight)', some rows of the weight at a time, so that what `read` makes of it is never there whole.

    The result's memory is there before the first rows: kept piece by piece, results would stand between the memory of
    the rows, none of which could be used again (gigabytes for a head of 152,064 rows).
    """
    y = x.new_empty(*x.shape[:-1], len(weight_OI))
    stop = 0
    for chunk_OI in weight_OI.split(max(1, most_elements // weight_OI.shape[1])):
        start, stop = stop, stop + len(chunk_OI)
        y[..., start:stop] = F.linear(x, read(chunk_OI))
    return y


def _linear(module: nn.Linear, x: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    return linear(x.to(dtype), module.weight, module.bias)


def _embedding(module: nn.Embedding, ids: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    return F.embedding(ids, module.weight).to(dtype)


def _layer_norm(module: nn.LayerNorm, x: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    weight, bias = module.weight.to(dtype), module.bias.to(dtype)
    return F.layer_norm(x.to(dtype), module.normalized_shape, weight, bias, module.eps)


def _conv2d(module: nn.Conv2d, x: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    bias = None if module.bias is None else module.bias.to(dtype)
    return F.conv2d(x.to(dtype), module.weight.to(dtype), bias, module.stride)


# RMSNorm and the language model's head need no row: both follow the dtype of what they are given.
_WIDENED: dict[type[nn.Module], Callable[[Any, torch.Tensor, torch.dtype], torch.Tensor]] = {
    nn.Linear: _linear,
    nn.Embedding: _embedding,
    nn.LayerNorm: _layer_norm,
    nn.Conv2d: _conv2d,
}


@contextmanager
def weights_upcast(module: nn.Module, dtype: torch.dtype = torch.float32) -> Iterator[nn.Module]:
    """Inside, `module` computes in `dtype`, whatever its parameters are stored in; they stay as they are.

    Each forward of a leaf is replaced for the duration of the block. Works on a part or on the whole model.
    """
    leaves = [leaf for leaf in module.modules() if type(leaf) in _WIDENED]
    if any("forward" in leaf.__dict__ for leaf in leaves):
        raise RuntimeError("weights_upcast does not nest")
    for leaf in leaves:
        leaf.forward = _bind(leaf, _WIDENED[type(leaf)], dtype)  # type: ignore[method-assign]
    try:
        yield module
    finally:
        for leaf in leaves:
            del leaf.__dict__["forward"]  # uncovers the class's own


def _bind(
    leaf: nn.Module, operation: Callable[[Any, torch.Tensor, torch.dtype], torch.Tensor], dtype: torch.dtype
) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda x: operation(leaf, x, dtype)
