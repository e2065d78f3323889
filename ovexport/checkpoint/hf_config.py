"""config.json of transformers' LLaVA-OneVision -> OneVisionConfig. Written by 4.45 to 5.x, legacy keys
ignored.

Knows the fields of LlavaOnevisionConfig, SiglipVisionConfig and their defaults. Refuses what the model here
does not compute, with a sentence each.
"""

from __future__ import annotations

import re
from pathlib import Path

from ovengines.bundle.manifest import Geometry
from ovexport.checkpoint.json_fields import MAX_LAYERS, Fields, bad_checkpoint
from ovexport.checkpoint.language_config import read_language_config
from ovexport.checkpoint.preprocessor import pinpoint_pairs, read_pixel_rules
from ovexport.checkpoint.tokenizer import SpecialIds
from ovexport.model.config import OneVisionConfig, VisionConfig

# Absent in a file that transformers 4.x wrote for the published models, because they are the class defaults.
_DEFAULT_PINPOINTS = tuple((384 * rows, 384 * columns) for rows in range(1, 7) for columns in range(1, 7))


def read_hf_config(
    folder: Path, top: Fields, special: SpecialIds, *, tied: bool, has_post_layernorm: bool
) -> OneVisionConfig:
    """Raises OVError (BAD_INPUT) for everything unsupported or inconsistent."""
    top.require("projector_hidden_act", "gelu", among=("gelu",))
    top.require("multimodal_projector_bias", True, among=(True,))
    top.require("vision_feature_layer", -1, among=(-1, [-1]))
    top.require("vision_feature_select_strategy", "full", among=("full",))
    text, vision_fields = top.object("text_config"), top.object("vision_config")
    text.require("model_type", "qwen2", among=("qwen2",))
    vision = read_vision_config(vision_fields, has_post_layernorm)
    stored = top.values.get("image_grid_pinpoints")
    pinpoints = _DEFAULT_PINPOINTS if stored is None else pinpoint_pairs(stored, top.where)
    check_pinpoints(pinpoints, vision.image_size_px)
    pixels = read_pixel_rules(folder, vision.image_size_px, pinpoints)
    return OneVisionConfig(
        vision=vision,
        language=read_language_config(text, tied=tied),
        geometry=Geometry(
            image_size_px=vision.image_size_px,
            patch_size_px=vision.patch_size_px,
            grid_pinpoints=pinpoints,
            max_tiles=parse_aspect_ratio(top, "vision_aspect_ratio", "anyres_max_9"),
            unpad_rounding="hf",
            image_mean=pixels.image_mean,
            image_std=pixels.image_std,
            rescale_factor=pixels.rescale_factor,
        ),
        image_token_id=special.image,
        video_token_id=special.video,
        pad_token_id=special.pad,
        eos_token_ids=special.eos,
    )


def parse_aspect_ratio(fields: Fields, key: str, default: str | None = None) -> int | None:
    """ "anyres" -> None (no cap), "anyres_max_9" -> 9. Raises OVError (BAD_INPUT) for anything else."""
    value = fields.text(key, default)
    if value == "anyres":
        return None
    if (match := re.fullmatch(r"anyres_max_([1-9]\d{0,3})", value)) is None:
        raise bad_checkpoint(
            f"{fields.where}: {key} is {value!r}; only 'anyres' and 'anyres_max_N' are supported",
            "checkpoints of stage 1 have another; export one that was trained with AnyRes",
        )
    return int(match[1])


def check_pinpoints(pinpoints: tuple[tuple[int, int], ...], image_size_px: int) -> None:
    """Every side must be a multiple of a tile's. Raises OVError (BAD_INPUT)."""
    for pair in pinpoints:
        if any(side % image_size_px for side in pair):
            raise bad_checkpoint(f"the grid pinpoint {pair} is not made of whole tiles of {image_size_px} px")


def read_vision_config(fields: Fields, has_post_layernorm: bool) -> VisionConfig:
    """Absent fields have the defaults of SiglipVisionConfig. Raises OVError (BAD_INPUT)."""
    fields.require("model_type", "siglip_vision_model", among=("siglip_vision_model",))
    fields.require("hidden_act", "gelu_pytorch_tanh", among=("gelu_pytorch_tanh",))
    hidden, num_heads = fields.positive("hidden_size", 768), fields.positive("num_attention_heads", 12)
    image_size, patch_size = fields.positive("image_size", 224), fields.positive("patch_size", 16)
    if hidden % num_heads or patch_size > image_size:
        raise bad_checkpoint(f"{fields.where}: {num_heads} heads of {hidden}, patch {patch_size} of {image_size}")
    return VisionConfig(
        hidden=hidden,
        intermediate=fields.positive("intermediate_size", 3072),
        num_layers=fields.positive("num_hidden_layers", 12, at_most=MAX_LAYERS),
        num_heads=num_heads,
        image_size_px=image_size,
        patch_size_px=patch_size,
        num_channels=fields.positive("num_channels", 3),
        layer_norm_eps=fields.number("layer_norm_eps", 1e-6),
        has_post_layernorm=has_post_layernorm,
    )
