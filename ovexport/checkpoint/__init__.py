"""Checkpoint files -> config, tokenizer, template and memory-mapped tensors; and back to files.

Knows all file formats and tensor names; `ovexport.model` knows none of them. Weights are read from
safetensors only.
"""

from __future__ import annotations

from ovexport.checkpoint.load import Checkpoint, open_checkpoint
from ovexport.checkpoint.parts import load_language_model, load_model, load_projector, load_vision_tower
from ovexport.checkpoint.save import save_checkpoint

__all__ = [
    "Checkpoint",
    "load_language_model",
    "load_model",
    "load_projector",
    "load_vision_tower",
    "open_checkpoint",
    "save_checkpoint",
]
