"""Folders written here load in transformers and open here again, with equal weights and equal answers."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from tiny_checkpoint import TEMPLATE, checkpoint_config, hf_tokenizer, llava_config
from tiny_oracle import relative_error
from tokenizers import Tokenizer
from transformers import (
    AutoConfig,
    AutoTokenizer,
    GenerationConfig,
    LlavaOnevisionForConditionalGeneration,
    LlavaOnevisionImageProcessor,
)

from ovengines.errors import OVError
from ovexport.checkpoint import load_model, open_checkpoint, save_checkpoint
from ovexport.model import OneVision


def saved(folder: Path, seed: int, dtype: torch.dtype, **options: int) -> OneVision:
    torch.manual_seed(seed)
    model = OneVision(checkpoint_config(seed)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_((parameter + 0.1 * torch.randn_like(parameter)).to(dtype).float())
    tokenizer = hf_tokenizer().backend_tokenizer.to_str().encode()
    save_checkpoint(model, folder, tokenizer_json=tokenizer, chat_template=TEMPLATE, dtype=dtype, **options)
    return model


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("seed", range(3))
def test_transformers_loads_it(tmp_path: Path, seed: int, dtype: torch.dtype) -> None:
    model = saved(tmp_path, seed, dtype)
    assert AutoConfig.from_pretrained(tmp_path).dtype == dtype
    oracle, report = LlavaOnevisionForConditionalGeneration.from_pretrained(
        tmp_path, dtype=torch.float32, output_loading_info=True
    )
    assert not report["missing_keys"] and not report["unexpected_keys"] and not report["mismatched_keys"]
    ids_BS = torch.randint(0, 300, (2, 9))
    size = model.config.vision.image_size_px
    pixels = torch.randn(2, 3, size, size)
    with torch.no_grad():
        assert relative_error(model(ids_BS).logits_BKV, oracle(input_ids=ids_BS).logits) < 1e-4, f"seed {seed}"
        features = oracle.model.vision_tower(pixels, output_hidden_states=True).hidden_states[-1]
        assert relative_error(model.vision_tower(pixels), features) < 1e-4, f"seed {seed}"
    generation = GenerationConfig.from_pretrained(tmp_path)
    assert (generation.eos_token_id, generation.pad_token_id) == (302, 300)


def test_transformers_loads_tokenizer_template_and_image_processor(tmp_path: Path) -> None:
    model = saved(tmp_path, 0, torch.float32)
    tokenizer, expected = AutoTokenizer.from_pretrained(tmp_path), hf_tokenizer()
    text = "<|im_start|>user\n<image>\nabc é 12<|im_end|>"
    assert tokenizer.encode(text) == expected.encode(text)
    assert tokenizer.eos_token == "<|im_end|>" and tokenizer.pad_token == "<|endoftext|>"
    messages = [{"role": "user", "content": "x"}]
    assert tokenizer.apply_chat_template(messages, tokenize=False) == "user"
    processor = LlavaOnevisionImageProcessor.from_pretrained(tmp_path)
    assert tuple(processor.image_mean) == (0.5, 0.5, 0.5)
    assert [tuple(pair) for pair in processor.image_grid_pinpoints] == list(model.config.geometry.grid_pinpoints)


@pytest.mark.parametrize("max_shard_bytes", [1, 5000, 1 << 30])
@pytest.mark.parametrize("seed", range(4))
def test_opens_here_again(tmp_path: Path, seed: int, max_shard_bytes: int) -> None:
    model = saved(tmp_path, seed, torch.bfloat16, max_shard_bytes=max_shard_bytes)
    with open_checkpoint(tmp_path) as checkpoint:
        assert checkpoint.config == model.config
        assert checkpoint.chat_template == TEMPLATE and checkpoint.name == tmp_path.name
        tokenizer = Tokenizer.from_str(checkpoint.tokenizer_json.decode())
        assert tokenizer.encode("<image>a").ids == hf_tokenizer().encode("<image>a")
        again = load_model(checkpoint, torch.float32)
        for (name, old), (other, new) in zip(model.named_parameters(), again.named_parameters(), strict=True):
            assert name == other and torch.equal(old, new), name


def test_a_second_save_replaces_shards_of_the_first(tmp_path: Path) -> None:
    saved(tmp_path, 0, torch.float32, max_shard_bytes=5000)
    model = saved(tmp_path, 1, torch.float32)
    with open_checkpoint(tmp_path) as checkpoint:
        assert checkpoint.config == model.config


def test_post_layernorm_survives_though_it_is_not_used(tmp_path: Path) -> None:
    saved(tmp_path, 0, torch.float32)
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        assert "vision_tower.vision_model.post_layernorm.weight" in file.keys()  # noqa: SIM118


def test_llava_next_cannot_be_written_as_transformers(tmp_path: Path) -> None:
    config = llava_config(0)
    for changed in (config, dataclasses.replace(config, video_token_id=304)):
        with pytest.raises(OVError, match="LLaVA-NeXT"):
            save_checkpoint(OneVision(changed), tmp_path / "out", tokenizer_json=b"{}", chat_template="")
    assert not (tmp_path / "out").exists()
