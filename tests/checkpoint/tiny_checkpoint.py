"""Folders of tiny checkpoints in every layout, made with transformers and by renaming what it wrote."""

from __future__ import annotations

import dataclasses
import json
import random
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from tiny_oracle import hf_model, tiny_config
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import LlavaOnevisionForConditionalGeneration, PreTrainedTokenizerFast

from ovexport.checkpoint.layouts import LAYOUTS, Layout, detect_layout
from ovexport.model import LanguageConfig, OneVisionConfig, VisionConfig

ROWS = 330  # of the embedding table; the tokenizer has 305 tokens, so some rows are padding
SPECIALS = {"<|endoftext|>": 300, "<|im_start|>": 301, "<|im_end|>": 302}
IMAGE_ID, VIDEO_ID, EOS_ID, PAD_ID = 303, 304, 302, 300
TEMPLATE = "{% for m in messages %}{{ m['role'] }}{% endfor %}"


@cache
def vocab_and_merges() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """300 byte-level tokens, learned from random words."""
    rng = random.Random(0)
    words = ["".join(rng.choice("abcdeé ñ12") for _ in range(rng.randint(2, 9))) for _ in range(500)]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(words, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    assert len(model["vocab"]) == 300
    return model["vocab"], [tuple(merge) for merge in model["merges"]]


def write_vocab_files(folder: Path) -> None:
    """As in the folders of Qwen2 and LLaVA-NeXT: no tokenizer.json, no `<image>`."""
    vocab, merges = vocab_and_merges()
    (folder / "vocab.json").write_text(json.dumps(vocab))
    lines = ["#version: 0.2", *(" ".join(merge) for merge in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "added_tokens.json").write_text(json.dumps(SPECIALS))
    write_json(folder / "tokenizer_config.json", {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"})


def hf_tokenizer() -> PreTrainedTokenizerFast:
    vocab, merges = vocab_and_merges()
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([*SPECIALS, "<image>", "<video>"])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>", chat_template=TEMPLATE
    )


def checkpoint_config(seed: int, **options: Any) -> OneVisionConfig:
    """tiny_config with a table for the tokenizer above."""
    config = tiny_config(seed, **options)
    return dataclasses.replace(
        config,
        language=dataclasses.replace(config.language, vocab_size=ROWS),
        image_token_id=IMAGE_ID,
        video_token_id=VIDEO_ID,
        pad_token_id=PAD_ID,
        eos_token_ids=(EOS_ID,),
    )


def llava_config(seed: int) -> OneVisionConfig:
    """With a tower that a LLaVA-NeXT folder can describe: the width of a real SigLIP, everything else small."""
    rng = random.Random(seed)
    config = checkpoint_config(seed, sides=3)
    size_px, patch_px = 30, rng.choice((7, 10, 15))
    vision = VisionConfig(
        hidden=768, intermediate=8, num_layers=1, num_heads=12, image_size_px=size_px, patch_size_px=patch_px
    )
    pairs = tuple((size_px * i, size_px * j) for i, j in ((1, 2), (2, 1), (2, 2), (3, 1), (1, 3)))
    geometry = dataclasses.replace(
        config.geometry,
        image_size_px=size_px,
        patch_size_px=patch_px,
        grid_pinpoints=pairs,
        unpad_rounding="llava",
        max_tiles=rng.choice((None, 9)),
    )
    return dataclasses.replace(config, vision=vision, geometry=geometry, video_token_id=None)


def write_hf(
    folder: Path, seed: int, *, max_shard_size: str = "5GB", config: OneVisionConfig | None = None, **options: Any
) -> LlavaOnevisionForConditionalGeneration:
    """What save_pretrained writes, with an image processor. Returns the model."""
    config = config or checkpoint_config(seed, **options)
    oracle = hf_model(config, seed)
    oracle.save_pretrained(folder, max_shard_size=max_shard_size)
    hf_tokenizer().save_pretrained(folder)
    size = config.geometry.image_size_px
    write_json(
        folder / "preprocessor_config.json",
        {
            "image_processor_type": "LlavaOnevisionImageProcessor",
            "image_mean": [0.5, 0.5, 0.5],
            "image_std": [0.5, 0.5, 0.5],
            "resample": 3,
            "do_resize": True,
            "do_rescale": True,
            "do_normalize": True,
            "rescale_factor": 1 / 255,
            "size": {"height": size, "width": size},
            "image_grid_pinpoints": [list(pair) for pair in config.geometry.grid_pinpoints],
        },
    )
    return oracle


def write_llava(folder: Path, seed: int) -> LlavaOnevisionForConditionalGeneration:
    """The same weights as a LLaVA-NeXT folder: its names, its config.json, (width, height) pairs, no tokenizer.json."""
    config = llava_config(seed)
    hf_form = dataclasses.replace(config, video_token_id=VIDEO_ID)
    oracle = hf_model(hf_form, seed)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.contiguous() for name, tensor in oracle.state_dict().items()}
    if config.language.tie_word_embeddings:
        tensors.pop("lm_head.weight")
    save_file(tensors, folder / "model.safetensors")
    rename(folder, LAYOUTS[-1])
    write_json(folder / "config.json", llava_json(config))
    write_vocab_files(folder)
    return oracle


def llava_json(config: OneVisionConfig) -> dict[str, Any]:
    language: LanguageConfig = config.language
    max_tiles = config.geometry.max_tiles
    return {
        "model_type": "llava",
        "architectures": ["LlavaQwenForCausalLM"],
        "hidden_size": language.hidden,
        "intermediate_size": language.intermediate,
        "num_hidden_layers": language.num_layers,
        "num_attention_heads": language.num_heads,
        "num_key_value_heads": language.num_kv_heads,
        "vocab_size": language.vocab_size,
        "rope_theta": language.rope_theta,
        "rope_scaling": None,
        "rms_norm_eps": language.rms_norm_eps,
        "max_position_embeddings": language.max_positions,
        "tie_word_embeddings": language.tie_word_embeddings,
        "use_sliding_window": False,
        "hidden_act": "silu",
        "eos_token_id": EOS_ID,
        "image_token_index": IMAGE_ID,
        "image_aspect_ratio": "anyres" if max_tiles is None else f"anyres_max_{max_tiles}",
        "image_grid_pinpoints": [[width, height] for height, width in config.geometry.grid_pinpoints],
        "mm_projector_type": "mlp2x_gelu",
        "mm_patch_merge_type": "spatial_unpad",
        "mm_vision_select_layer": -2,
        "mm_vision_select_feature": "patch",
        "mm_resampler_type": None,
        "mm_vision_tower": f"google/siglip-base-patch{config.vision.patch_size_px}-{config.vision.image_size_px}",
    }


def rename(folder: Path, layout: Layout) -> None:
    """Give the tensors of a single file the names of another layout."""
    tensors = load_file(folder / "model.safetensors")
    before = detect_layout(tensors)
    own = {before.own_name(name): tensor for name, tensor in tensors.items()}
    save_file({layout.file_name(name): tensor for name, tensor in own.items() if name}, folder / "model.safetensors")


def change_json(path: Path, **fields: Any) -> None:
    """Set fields of a JSON object; None removes one; a dotted name reaches into an object."""
    content = json.loads(path.read_text())
    for key, value in fields.items():
        *parents, last = key.split("__")
        target = content
        for parent in parents:
            target = target[parent]
        if value is None:
            target.pop(last, None)
        else:
            target[last] = value
    write_json(path, content)


def change_tensors(folder: Path, **changes: torch.Tensor | None) -> None:
    """Set or remove tensors of a single file by their names in it."""
    tensors = load_file(folder / "model.safetensors")
    for name, tensor in changes.items():
        if tensor is None:
            del tensors[name]
        else:
            tensors[name] = tensor
    save_file(tensors, folder / "model.safetensors")


def write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=1))
