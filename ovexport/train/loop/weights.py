"""Fills a model, sharded or whole, from a source of tensors: one tensor in memory at a time, float32 at the end.

Knows the names of parameters and `TensorFolder`; every process reads the mapped files itself and keeps its shard.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.distributed.tensor import DTensor, distribute_tensor

from ovexport.checkpoint.parts import TensorFolder
from ovexport.model import OneVision, OneVisionConfig


def empty_model(config: OneVisionConfig) -> OneVision:
    """A model in float32 without storage, to be sharded before it is filled."""
    with torch.device("meta"):
        return OneVision(config).float()


@torch.no_grad()
def fill(model: nn.Module, source: TensorFolder, device: torch.device) -> None:
    """Give every parameter its storage on `device` and its value. Raises KeyError for a tensor that is not there."""
    model.to_empty(device=device)
    for name, parameter in model.named_parameters():
        full = source.tensor(name).to(device, torch.float32)
        if isinstance(parameter, DTensor):
            # src_data_rank=None: each process cuts its own part, nothing is sent.
            full = distribute_tensor(full, parameter.device_mesh, parameter.placements, src_data_rank=None)
        parameter.copy_(full)
