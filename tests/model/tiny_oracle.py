"""Tiny LLaVA-OneVision models of transformers with random weights, and the same weights in this project's model.

The weights are large enough that answers differ from prompt to prompt (a fresh model repeats one token).
"""

from __future__ import annotations

import random
from typing import Any

import torch
from transformers import LlavaOnevisionConfig, LlavaOnevisionForConditionalGeneration

from ovengines.bundle.manifest import Geometry
from ovexport.checkpoint.layouts import detect_layout
from ovexport.model import LanguageConfig, OneVision, OneVisionConfig, VisionConfig

IMAGE_ID, VIDEO_ID, PAD_ID, EOS_ID = 90, 91, 0, 1
SHAPES = ((28, 4), (30, 7), (56, 14), (104, 14), (40, 8))  # (image, patch) px; some with an edge that is never seen


def tiny_config(seed: int, *, tied: bool | None = None, max_tiles: int | None = 9, sides: int = 6) -> OneVisionConfig:
    """A random small configuration; the same seed gives the same one."""
    rng = random.Random(seed)
    image_size, patch_size = rng.choice(SHAPES)
    kv_heads, group, head_dim = rng.choice((1, 2)), rng.choice((1, 2, 3)), rng.choice((8, 12))
    vision_heads = rng.choice((2, 3))
    pinpoints = tuple((image_size * i, image_size * j) for i in range(1, sides + 1) for j in range(1, sides + 1))
    return OneVisionConfig(
        vision=VisionConfig(
            hidden=8 * vision_heads,
            intermediate=rng.choice((20, 36)),
            num_layers=rng.choice((1, 2, 3)),
            num_heads=vision_heads,
            image_size_px=image_size,
            patch_size_px=patch_size,
        ),
        language=LanguageConfig(
            vocab_size=96,
            hidden=kv_heads * group * head_dim,
            intermediate=rng.choice((24, 40)),
            num_layers=rng.choice((1, 2, 3)),
            num_heads=kv_heads * group,
            num_kv_heads=kv_heads,
            head_dim=head_dim,
            max_positions=4096,
            tie_word_embeddings=rng.random() < 0.5 if tied is None else tied,
            rope_theta=rng.choice((1e4, 1e6)),
        ),
        geometry=Geometry(
            image_size_px=image_size,
            patch_size_px=patch_size,
            grid_pinpoints=pinpoints,
            max_tiles=max_tiles,
            unpad_rounding="hf",
        ),
        image_token_id=IMAGE_ID,
        video_token_id=VIDEO_ID,
        pad_token_id=PAD_ID,
        eos_token_ids=(EOS_ID,),
    )


def hf_config(config: OneVisionConfig) -> LlavaOnevisionConfig:
    """The same in transformers' terms."""
    vision, language, geometry = config.vision, config.language, config.geometry
    return LlavaOnevisionConfig(
        vision_config={
            "model_type": "siglip_vision_model",
            "hidden_size": vision.hidden,
            "intermediate_size": vision.intermediate,
            "num_hidden_layers": vision.num_layers,
            "num_attention_heads": vision.num_heads,
            "image_size": vision.image_size_px,
            "patch_size": vision.patch_size_px,
            "vision_use_head": False,
        },
        text_config={
            "model_type": "qwen2",
            "vocab_size": language.vocab_size,
            "hidden_size": language.hidden,
            "intermediate_size": language.intermediate,
            "num_hidden_layers": language.num_layers,
            "num_attention_heads": language.num_heads,
            "num_key_value_heads": language.num_kv_heads,
            "max_position_embeddings": language.max_positions,
            "rope_theta": language.rope_theta,
            "tie_word_embeddings": language.tie_word_embeddings,
            "eos_token_id": config.eos_token_ids[0],
            "pad_token_id": config.pad_token_id,
        },
        image_token_index=config.image_token_id,
        video_token_index=config.video_token_id,
        image_grid_pinpoints=[list(pair) for pair in geometry.grid_pinpoints],
        # transformers cannot parse plain "anyres"; a cap that nothing reaches means the same.
        vision_aspect_ratio=f"anyres_max_{geometry.max_tiles or 10**6}",
        attn_implementation="eager",
    )


def hf_model(config: OneVisionConfig, seed: int) -> LlavaOnevisionForConditionalGeneration:
    """transformers' model with random weights, biases and norms included."""
    model = LlavaOnevisionForConditionalGeneration(hf_config(config)).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            spread = 0.1 if parameter.ndim < 2 or "norm" in name else 2.0 * parameter.shape[-1] ** -0.5
            noise = torch.randn(parameter.shape, generator=generator) * spread
            parameter.copy_(noise + (1.0 if "norm" in name and name.endswith("weight") else 0.0))
    return model


def same_model(config: OneVisionConfig, oracle: LlavaOnevisionForConditionalGeneration) -> OneVision:
    """This project's model with the oracle's weights."""
    state = oracle.state_dict()
    layout = detect_layout(state)
    model = OneVision(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(state[layout.file_name(name)])
    return model


def pair(seed: int, **options: object) -> tuple[OneVision, LlavaOnevisionForConditionalGeneration]:
    config = tiny_config(seed, **options)  # type: ignore[arg-type]
    oracle = hf_model(config, seed)
    return same_model(config, oracle), oracle


def pooled(outputs: Any) -> torch.Tensor:
    """Visual tokens of get_image_features or get_video_features: 5.x wraps them, 4.57 returns a list or a batch."""
    return torch.cat(list(getattr(outputs, "pooler_output", outputs)))


def relative_error(got: torch.Tensor, expected: torch.Tensor) -> float:
    """Largest difference over largest value."""
    assert got.shape == expected.shape, (got.shape, expected.shape)
    return float((got - expected).abs().max() / expected.abs().max())
