"""Modules whose parameters are the mapped tensors of a checkpoint: the whole model, or one part of it,
without a copy.

Knows how to join tensors by name and `ovexport.model`. For arithmetic in float32 over 16-bit weights see
`weights_upcast`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

import torch
from torch import nn

from ovexport.model.config import OneVisionConfig
from ovexport.model.onevision import OneVision
from ovexport.model.projector import Projector
from ovexport.model.qwen2 import LanguageModel
from ovexport.model.siglip import VisionTower

M = TypeVar("M", bound=nn.Module)


class TensorFolder(Protocol):
    """What is needed of a `Checkpoint`; tensors go by the parameter names of `OneVision`."""

    @property
    def config(self) -> OneVisionConfig: ...

    def names(self) -> list[str]: ...

    def tensor(self, name: str) -> torch.Tensor: ...


def load_model(checkpoint: TensorFolder, dtype: torch.dtype | None = None) -> OneVision:
    """All of it, for inference (no gradients). With a dtype the weights are copied and cast, else mapped as stored."""
    return _fill(OneVision, checkpoint, "", dtype)


def load_vision_tower(checkpoint: TensorFolder, dtype: torch.dtype | None = None) -> VisionTower:
    return _fill(lambda c: VisionTower(c.vision), checkpoint, "vision_tower.", dtype)


def load_projector(checkpoint: TensorFolder, dtype: torch.dtype | None = None) -> Projector:
    """Without the newline, which is `checkpoint.tensor("image_newline")`."""

    def build(config: OneVisionConfig) -> Projector:
        return Projector(config.vision.hidden, config.language.hidden)

    return _fill(build, checkpoint, "projector.", dtype)


def load_language_model(checkpoint: TensorFolder, dtype: torch.dtype | None = None) -> LanguageModel:
    return _fill(lambda c: LanguageModel(c.language), checkpoint, "language_model.", dtype)


def _fill(build: Callable[[OneVisionConfig], M], checkpoint: TensorFolder, prefix: str, dtype: torch.dtype | None) -> M:
    with torch.device("meta"):
        module = build(checkpoint.config)
    names = [name for name in checkpoint.names() if name.startswith(prefix)]
    tensors = {name[len(prefix) :]: checkpoint.tensor(name) for name in names}
    if dtype is not None:
        tensors = {name: tensor.to(dtype, copy=True) for name, tensor in tensors.items()}
    module.load_state_dict(tensors, assign=True)
    return module.requires_grad_(False).eval()
