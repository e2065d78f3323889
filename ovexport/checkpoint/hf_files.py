"""The JSON files that transformers' save_pretrained would write beside the weights of this model.

Knows LlavaOnevisionConfig and the processors (4.45 to 5.x); the reading of them is `hf_config.py` and others.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from ovengines.bundle.manifest import Geometry
from ovexport.model.config import OneVisionConfig, VisionConfig

_DTYPE_NAMES = {torch.float32: "float32", torch.float16: "float16", torch.bfloat16: "bfloat16"}


def json_files(
    config: OneVisionConfig, tokenizer: Mapping[str, Any], chat_template: str, dtype: torch.dtype
) -> dict[str, Any]:
    """Contents by file name; `tokenizer` is the parsed tokenizer.json, `dtype` that of the weights."""
    tokens = {entry["id"]: entry["content"] for entry in tokenizer.get("added_tokens", [])}
    eos = config.eos_token_ids[0] if len(config.eos_token_ids) == 1 else list(config.eos_token_ids)
    return {
        "config.json": _config_json(config, dtype),
        "generation_config.json": {"eos_token_id": eos, "pad_token_id": config.pad_token_id},
        "preprocessor_config.json": _image_processor(config.geometry),
        "processor_config.json": {
            "processor_class": "LlavaOnevisionProcessor",
            "num_image_tokens": config.vision.patches_per_side**2,
            "vision_feature_select_strategy": "full",
            "vision_aspect_ratio": _aspect_ratio(config),
            "image_token": tokens.get(config.image_token_id, "<image>"),
            "video_token": tokens.get(config.video_token_id, "<video>"),
        },
        "chat_template.json": {"chat_template": chat_template},  # where 4.45 to 4.51 look for it
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "processor_class": "LlavaOnevisionProcessor",
            "model_max_length": config.language.max_positions,
            "clean_up_tokenization_spaces": False,
            "padding_side": "right",
            "eos_token": tokens.get(config.eos_token_ids[0]),
            "pad_token": tokens.get(config.pad_token_id),
        },
    }


def _image_processor(geometry: Geometry) -> dict[str, Any]:
    return {
        "image_processor_type": "LlavaOnevisionImageProcessor",
        "processor_class": "LlavaOnevisionProcessor",
        "do_convert_rgb": True,
        "do_normalize": True,
        "do_pad": True,
        "do_rescale": True,
        "do_resize": True,
        "image_grid_pinpoints": [list(pair) for pair in geometry.grid_pinpoints],
        "image_mean": list(geometry.image_mean),
        "image_std": list(geometry.image_std),
        "resample": 3,
        "rescale_factor": geometry.rescale_factor,
        "size": {"height": geometry.image_size_px, "width": geometry.image_size_px},
    }


def _config_json(config: OneVisionConfig, dtype: torch.dtype) -> dict[str, Any]:
    return {
        "architectures": ["LlavaOnevisionForConditionalGeneration"],
        "model_type": "llava_onevision",
        "image_token_index": config.image_token_id,
        "video_token_index": config.video_token_id,
        "image_grid_pinpoints": [list(pair) for pair in config.geometry.grid_pinpoints],
        "projector_hidden_act": "gelu",
        "multimodal_projector_bias": True,
        "vision_aspect_ratio": _aspect_ratio(config),
        "vision_feature_layer": -1,
        "vision_feature_select_strategy": "full",
        "tie_word_embeddings": config.language.tie_word_embeddings,
        "torch_dtype": _DTYPE_NAMES[dtype],
        "text_config": _text_config(config, dtype),
        "vision_config": _vision_config(config.vision),
    }


def _text_config(config: OneVisionConfig, dtype: torch.dtype) -> dict[str, Any]:
    language = config.language
    return {
        "model_type": "qwen2",
        "vocab_size": language.vocab_size,
        "hidden_size": language.hidden,
        "intermediate_size": language.intermediate,
        "num_hidden_layers": language.num_layers,
        "num_attention_heads": language.num_heads,
        "num_key_value_heads": language.num_kv_heads,
        "head_dim": language.head_dim,
        "max_position_embeddings": language.max_positions,
        "hidden_act": "silu",
        "rms_norm_eps": language.rms_norm_eps,
        "rope_theta": language.rope_theta,
        "use_sliding_window": False,
        "tie_word_embeddings": language.tie_word_embeddings,
        "eos_token_id": config.eos_token_ids[0],
        "pad_token_id": config.pad_token_id,
        "torch_dtype": _DTYPE_NAMES[dtype],
    }


def _vision_config(vision: VisionConfig) -> dict[str, Any]:
    return {
        "model_type": "siglip_vision_model",
        "hidden_size": vision.hidden,
        "intermediate_size": vision.intermediate,
        "num_hidden_layers": vision.num_layers,
        "num_attention_heads": vision.num_heads,
        "num_channels": vision.num_channels,
        "image_size": vision.image_size_px,
        "patch_size": vision.patch_size_px,
        "hidden_act": "gelu_pytorch_tanh",
        "layer_norm_eps": vision.layer_norm_eps,
        "vision_use_head": False,
    }


def _aspect_ratio(config: OneVisionConfig) -> str:
    return "anyres" if config.geometry.max_tiles is None else f"anyres_max_{config.geometry.max_tiles}"
