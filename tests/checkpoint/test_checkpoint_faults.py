"""Everything that is wrong or unsupported in a checkpoint is one OVError with exit code 3, a sentence and a hint."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tiny_checkpoint import change_json, change_tensors, rename, write_hf, write_json, write_llava

from ovengines.errors import ExitCode, OVError
from ovexport.checkpoint import open_checkpoint
from ovexport.checkpoint.layouts import LAYOUTS


def refusal(folder: Path | str, code: ExitCode = ExitCode.BAD_INPUT, revision: str | None = None) -> OVError:
    with pytest.raises(OVError) as caught:
        open_checkpoint(folder, revision)
    assert caught.value.code == code
    assert caught.value.hint and "\n" not in caught.value.message
    return caught.value


def test_all_faults_of_tensors_at_once(tmp_path: Path) -> None:
    write_hf(tmp_path, 1, tied=False)
    rename(tmp_path, LAYOUTS[1])
    change_json(tmp_path / "config.json", text_config__tie_word_embeddings=False)
    change_tensors(
        tmp_path,
        image_newline=torch.zeros(3),
        **{
            "language_model.lm_head.weight": None,
            "language_model.model.norm.weight": None,
            "vision_tower.encoder.layers.77.mlp.fc1.bias": torch.zeros(2),
            "something.else": torch.zeros(1),
        },
    )
    message = refusal(tmp_path).message
    assert "2 missing: language_model.lm_head.weight, language_model.model.norm.weight" in message
    assert "2 unexpected: something.else, vision_tower.encoder.layers.77.mlp.fc1.bias" in message
    assert "1 of the wrong shape: image_newline is [3] and not [" in message


def test_long_lists_are_cut_after_ten(tmp_path: Path) -> None:
    write_hf(tmp_path, 1)
    change_tensors(tmp_path, **{f"extra.{i:02d}": torch.zeros(1) for i in range(25)})
    message = refusal(tmp_path).message
    assert "25 unexpected: extra.00, " in message and "extra.09 and 15 more" in message and "extra.10" not in message


def test_old_buffers_are_no_fault(tmp_path: Path) -> None:
    write_hf(tmp_path, 1)
    change_tensors(
        tmp_path,
        **{
            "language_model.model.layers.0.self_attn.rotary_emb.inv_freq": torch.zeros(4),
            "vision_tower.vision_model.embeddings.position_ids": torch.zeros(1, 9),
        },
    )
    open_checkpoint(tmp_path).close()


def test_missing_shard_is_named(tmp_path: Path) -> None:
    write_hf(tmp_path, 1, max_shard_size="10KB")
    shard = sorted(tmp_path.glob("*.safetensors"))[1]
    shard.unlink()
    assert shard.name in refusal(tmp_path).message


@pytest.mark.parametrize("keep", [0, 4, 100, -1, -1000])
def test_truncated_file(tmp_path: Path, keep: int) -> None:
    write_hf(tmp_path, 1)
    path = tmp_path / "model.safetensors"
    os.truncate(path, keep if keep >= 0 else path.stat().st_size + keep)
    assert "model.safetensors" in refusal(tmp_path).message


@pytest.mark.parametrize(
    "name", ["../model.safetensors", "/etc/passwd", "a/b.safetensors", "model.bin", "..", 7, "a\\b.safetensors"]
)
def test_index_with_anything_but_bare_names(tmp_path: Path, name: Any) -> None:
    write_hf(tmp_path, 1, max_shard_size="10KB")
    path = tmp_path / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    index["weight_map"]["image_newline"] = name
    write_json(path, index)
    assert repr(name) in refusal(tmp_path).message


def test_pickled_weights_are_not_opened(tmp_path: Path) -> None:
    write_hf(tmp_path, 1)
    (tmp_path / "model.safetensors").unlink()
    (tmp_path / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'touch owned'\ntR.")
    error = refusal(tmp_path)
    assert "pytorch_model.bin" in error.message and "never loaded" in error.hint
    assert not (tmp_path / "owned").exists() and not Path("owned").exists()


def test_quantised_dtype(tmp_path: Path) -> None:
    write_hf(tmp_path, 1)
    change_tensors(tmp_path, image_newline=torch.zeros(8, dtype=torch.int8))
    assert "I8" in refusal(tmp_path).message


def test_no_such_folder_a_file_an_empty_folder_and_a_revision(tmp_path: Path) -> None:
    assert "no folder" in refusal(tmp_path / "none").message
    (tmp_path / "file").write_text("x")
    assert "is a file" in refusal(tmp_path / "file").message
    assert "config.json" in refusal(tmp_path).message
    assert "main" in refusal(tmp_path, ExitCode.USAGE, revision="main").message


def test_other_models(tmp_path: Path) -> None:
    write_hf(tmp_path, 1)
    tensors = load_file(tmp_path / "model.safetensors")
    change_tensors(tmp_path, **dict.fromkeys(tensors), **{"bert.pooler.weight": torch.zeros(2)})
    assert "bert.pooler.weight" in refusal(tmp_path).message


@pytest.mark.parametrize(
    ("file", "fields", "words"),
    [
        ("config.json", {"model_type": "llava_next"}, "llava_next"),
        ("config.json", {"vision_feature_layer": -2}, "vision_feature_layer"),
        ("config.json", {"vision_feature_layer": [-1, -2]}, "vision_feature_layer"),
        ("config.json", {"vision_feature_select_strategy": "default"}, "select_strategy"),
        ("config.json", {"projector_hidden_act": "relu"}, "projector_hidden_act"),
        ("config.json", {"multimodal_projector_bias": False}, "multimodal_projector_bias"),
        ("config.json", {"vision_aspect_ratio": "pad"}, "vision_aspect_ratio"),
        ("config.json", {"vision_aspect_ratio": "anyres_max_0"}, "vision_aspect_ratio"),
        ("config.json", {"image_grid_pinpoints": [[31, 28]]}, "whole tiles"),
        ("config.json", {"image_grid_pinpoints": [[28]]}, "pairs"),
        ("config.json", {"image_grid_pinpoints": []}, "pairs"),
        ("config.json", {"image_token_index": 5}, "<image>"),
        ("config.json", {"text_config__model_type": "llama"}, "llama"),
        ("config.json", {"text_config__hidden_act": "gelu"}, "hidden_act"),
        ("config.json", {"text_config__hidden_size": "8"}, "hidden_size"),
        ("config.json", {"text_config__hidden_size": None}, "hidden_size"),
        ("config.json", {"text_config__num_attention_heads": 0}, "num_attention_heads"),
        ("config.json", {"text_config__num_key_value_heads": 7}, "key/value heads"),
        ("config.json", {"text_config__use_sliding_window": True}, "use_sliding_window"),
        ("config.json", {"text_config__layer_types": ["sliding_attention"]}, "layer_types"),
        ("config.json", {"text_config__rope_parameters": {"rope_type": "yarn", "rope_theta": 1.0}}, "yarn"),
        ("config.json", {"vision_config__model_type": "clip_vision_model"}, "clip_vision_model"),
        ("config.json", {"vision_config__hidden_act": "gelu"}, "hidden_act"),
        ("config.json", {"vision_config__num_attention_heads": 7}, "heads"),
        ("config.json", {"text_config__vocab_size": 300}, "embed_tokens.weight is [330"),
        ("preprocessor_config.json", {"image_grid_pinpoints": [[28, 28]]}, "differ"),
        ("preprocessor_config.json", {"size": {"height": 5, "width": 5}}, "size"),
        ("preprocessor_config.json", {"resample": 2}, "resample"),
        ("preprocessor_config.json", {"do_rescale": False}, "do_rescale"),
        ("preprocessor_config.json", {"image_mean": [0.5]}, "image_mean"),
        ("preprocessor_config.json", {"image_std": [0.5, 0.5, 0]}, "image_std"),
        ("generation_config.json", {"eos_token_id": "x"}, "eos_token_id"),
        ("generation_config.json", {"eos_token_id": 400}, "400"),
    ],
)
def test_refused_fields(tmp_path: Path, file: str, fields: dict[str, Any], words: str) -> None:
    write_hf(tmp_path, 0)
    change_json(tmp_path / file, **fields)
    error = refusal(tmp_path)
    assert words in error.message, error.message


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"model_type": "mistral"}, "mistral"),
        ({"mm_projector_type": "linear"}, "mm_projector_type"),
        ({"mm_patch_merge_type": "flat"}, "mm_patch_merge_type"),
        ({"mm_newline_position": "grid"}, "mm_newline_position"),
        ({"mm_resampler_type": "perceiver"}, "mm_resampler_type"),
        ({"image_aspect_ratio": "square"}, "image_aspect_ratio"),
        ({"image_aspect_ratio": None}, "image_aspect_ratio"),
        ({"image_grid_pinpoints": "(1x1),...,(99x99)"}, "image_grid_pinpoints"),
        ({"image_grid_pinpoints": "none"}, "image_grid_pinpoints"),
        ({"mm_vision_tower": "google/siglip-so400m-patch14-384"}, "does not fit"),
    ],
)
def test_refused_fields_of_llava_next(tmp_path: Path, fields: dict[str, Any], words: str) -> None:
    write_llava(tmp_path, 0)
    change_json(tmp_path / "config.json", **fields)
    assert words in refusal(tmp_path).message


def test_llava_next_without_its_tower(tmp_path: Path) -> None:
    write_llava(tmp_path, 0)
    names = load_file(tmp_path / "model.safetensors")
    change_tensors(tmp_path, **{name: None for name in names if "vision_tower" in name})
    assert "vision tower" in refusal(tmp_path).message


def test_hugging_face_names_with_a_config_of_llava_next(tmp_path: Path) -> None:
    write_llava(tmp_path, 0)
    rename(tmp_path, LAYOUTS[0])
    assert "model_type" in refusal(tmp_path).message


@pytest.mark.parametrize("content", ["", "[1]", "{", '{"a": ' * 2000, "nul\0"])
@pytest.mark.parametrize("file", ["config.json", "preprocessor_config.json", "tokenizer.json"])
def test_files_that_are_not_json_objects(tmp_path: Path, file: str, content: str) -> None:
    write_hf(tmp_path, 0)
    (tmp_path / file).write_text(content)
    assert file in refusal(tmp_path).message
