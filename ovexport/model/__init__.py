"""The PyTorch reference of LLaVA-OneVision: tower, projector, token pooling, Qwen2; loss, greedy answers.

Knows the arithmetic of the networks. Does not know files, names in checkpoints, images or prompts:
`ovexport.checkpoint` fills the parameters, `ovrun.tiling` makes tiles and token plans. Everything exported is
compared with this.
"""

from __future__ import annotations

from ovexport.model.attention import visible_mask
from ovexport.model.config import LanguageConfig, OneVisionConfig, VisionConfig
from ovexport.model.onevision import OneVision, Output
from ovexport.model.projector import Projector
from ovexport.model.qwen2 import KVCache, LanguageModel
from ovexport.model.siglip import VisionTower
from ovexport.model.upcast import weights_upcast

__all__ = [
    "KVCache",
    "LanguageConfig",
    "LanguageModel",
    "OneVision",
    "OneVisionConfig",
    "Output",
    "Projector",
    "VisionConfig",
    "VisionTower",
    "visible_mask",
    "weights_upcast",
]
