"""Random checkpoints at real shapes, made on the spot: speed and memory do not depend on what the weights say.

The tokenizer is the embedded model's, so image and end-of-turn ids are its; the table has the real number of rows.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch

from ovexport.checkpoint import open_checkpoint, save_checkpoint
from ovexport.embedded import EMBEDDED_MODEL
from ovexport.model import LanguageConfig, OneVision, OneVisionConfig, VisionConfig

SO400M = VisionConfig(hidden=1152, intermediate=4304, num_layers=26, num_heads=16, image_size_px=384, patch_size_px=14)
QWEN2_0_5B = LanguageConfig(
    vocab_size=152000,
    hidden=896,
    intermediate=4864,
    num_layers=24,
    num_heads=14,
    num_kv_heads=2,
    head_dim=64,
    max_positions=32768,
    tie_word_embeddings=True,
)
QWEN2_7B = LanguageConfig(
    vocab_size=152128,
    hidden=3584,
    intermediate=18944,
    num_layers=28,
    num_heads=28,
    num_kv_heads=4,
    head_dim=128,
    max_positions=32768,
    tie_word_embeddings=False,
)
LAYERS = ((1, "1-layer"), (2, "2-layers"))
SHAPES = {
    "0.5b": (SO400M, QWEN2_0_5B),
    **{f"7b-{name}": (SO400M, dataclasses.replace(QWEN2_7B, num_layers=count)) for count, name in LAYERS},
}


def real_config(shape: str) -> OneVisionConfig:
    """The configuration of a shape, with the 36 pinpoints and anyres_max_9 of the released checkpoints."""
    vision, language = SHAPES[shape]
    with open_checkpoint(EMBEDDED_MODEL) as embedded:
        config = embedded.config
    side = vision.image_size_px
    pinpoints = tuple((side * rows, side * columns) for rows in range(1, 7) for columns in range(1, 7))
    geometry = dataclasses.replace(
        config.geometry, image_size_px=side, patch_size_px=vision.patch_size_px, grid_pinpoints=pinpoints
    )
    return dataclasses.replace(config, vision=vision, language=language, geometry=geometry)


def random_checkpoint(shape: str, folder: Path, *, seed: int = 0) -> Path:
    """Write (once) a checkpoint of `shape` with random bfloat16 weights into `folder/shape`; returns that folder."""
    target = folder / shape
    if (target / "config.json").exists():
        return target
    config = real_config(shape)
    default_dtype = torch.get_default_dtype()
    torch.manual_seed(seed)
    try:
        torch.set_default_dtype(torch.bfloat16)
        model = OneVision(config)
    finally:
        torch.set_default_dtype(default_dtype)
    with open_checkpoint(EMBEDDED_MODEL) as embedded:
        tokenizer_json, chat_template = embedded.tokenizer_json, embedded.chat_template
    save_checkpoint(model, target, tokenizer_json=tokenizer_json, chat_template=chat_template)
    return target
