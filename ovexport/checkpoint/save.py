"""A model -> a folder that transformers (4.x and 5.x) and `open_checkpoint` load: the other direction of this
package.

Knows the files that save_pretrained writes; weights get the names of transformers on disk.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from ovengines.bundle.manifest import Geometry
from ovengines.errors import ExitCode, OVError
from ovexport.checkpoint.layouts import HF_DISK
from ovexport.checkpoint.tensor_files import INDEX_FILE, SINGLE_FILE
from ovexport.model.config import OneVisionConfig, VisionConfig
from ovexport.model.onevision import OneVision

_DTYPE_NAMES = {torch.float32: "float32", torch.float16: "float16", torch.bfloat16: "bfloat16"}


def save_checkpoint(
    model: OneVision,
    folder: Path,
    *,
    tokenizer_json: bytes,
    chat_template: str,
    dtype: torch.dtype = torch.bfloat16,
    max_shard_bytes: int = 5 << 30,
) -> None:
    """Write weights (cast to `dtype`), configuration, tokenizer and template into `folder`, which may exist.

    Raises OVError (BAD_INPUT) for a model that transformers' format cannot describe: one of LLaVA-NeXT, with
    its other rounding and no video token.
    """
    config = model.config
    if config.video_token_id is None or config.geometry.unpad_rounding != "hf":
        raise OVError(
            ExitCode.BAD_INPUT,
            "a LLaVA-NeXT model cannot be written in transformers' format without changing its answers",
            "keep the folder that it came from",
        )
    folder.mkdir(parents=True, exist_ok=True)
    _write_weights(model, folder, dtype, max_shard_bytes)
    for name, content in _json_files(config, json.loads(tokenizer_json), chat_template, dtype).items():
        (folder / name).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    (folder / "tokenizer.json").write_bytes(tokenizer_json)
    (folder / "chat_template.jinja").write_text(chat_template, encoding="utf-8")


def _write_weights(model: OneVision, folder: Path, dtype: torch.dtype, max_shard_bytes: int) -> None:
    shards: list[list[str]] = [[]]
    size_bytes = 0
    parameters = dict(model.named_parameters())
    for name, parameter in parameters.items():
        tensor_bytes = parameter.numel() * dtype.itemsize
        if shards[-1] and size_bytes + tensor_bytes > max_shard_bytes:
            shards.append([])
            size_bytes = 0
        shards[-1].append(name)
        size_bytes += tensor_bytes
    files = [
        SINGLE_FILE if len(shards) == 1 else f"model-{i:05d}-of-{len(shards):05d}.safetensors"
        for i in range(1, len(shards) + 1)
    ]
    for file, names in zip(files, shards, strict=True):
        tensors = {HF_DISK.file_name(n): parameters[n].detach().to("cpu", dtype).contiguous() for n in names}
        save_file(tensors, folder / file, metadata={"format": "pt"})
    (folder / INDEX_FILE).unlink(missing_ok=True)
    if len(shards) > 1:
        weight_map = {HF_DISK.file_name(n): file for file, names in zip(files, shards, strict=True) for n in names}
        total = sum(p.numel() for p in parameters.values()) * dtype.itemsize
        index = {"metadata": {"total_size": total}, "weight_map": weight_map}
        (folder / INDEX_FILE).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def _json_files(
    config: OneVisionConfig, tokenizer: Mapping[str, Any], chat_template: str, dtype: torch.dtype
) -> dict[str, Any]:
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
