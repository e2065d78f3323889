"""What `ovexport train show` tells of a recipe, and what follows from it; parameters are counted by transformers."""

from __future__ import annotations

import pytest
import torch
from stage_sizes import STAGE_SIZES

from ovexport.train.recipe import resolve
from ovexport.train.recipe.overrides import VALUES
from ovexport.train.recipe.recipe import FIELDS
from ovexport.train.recipe.show import as_table, derived
from ovexport.train.recipe.sizes import PARAMETERS


@pytest.mark.parametrize(("stage", "size"), STAGE_SIZES)
def test_table_shows_values_that_can_be_given_again(stage: str, size: str) -> None:
    resolved = resolve(stage, size)
    lines = as_table(resolved).split("\n\n")[0].splitlines()[1:]
    shown = {line.split()[0]: line.split()[1] for line in lines}
    assert tuple(shown) == FIELDS
    again = resolve(stage, size, None, {name: shown[name] for name in VALUES})
    assert again.recipe == resolved.recipe
    assert all(len(line) <= 150 for line in lines), max(lines, key=len)


def test_derived_lines() -> None:
    def lines(stage: str, size: str, **overrides: str) -> dict[str, str]:
        return {name: value for name, value, _ in derived(resolve(stage, size, None, overrides).recipe)}

    told = lines("stage2-si", "0.5b", global_batch="96", device_batch="4")
    assert told["vision : language rate"] == "1 : 5"
    assert told["micro-batches per step"] == "24"
    assert told["trainable parameters, printed"] == "0.8B"
    assert told["trainable parameters, counted"] == "893,618,208"
    assert lines("stage1", "72b")["trainable parameters, counted"] == "76,562,432"
    assert lines("stage1", "7b")["vision : language rate"] == "none: frozen"
    part = lines("stage2-ov", "7b", trainable="projector,language")
    assert "trainable parameters, printed" not in part
    assert part["trainable parameters, counted"] == "7,632,601,088"
    assert not any("parameters" in name for name in lines("stage2-ov", "tiny"))


@pytest.mark.parametrize("size", PARAMETERS)
def test_parameter_counts_are_those_of_transformers(size: str) -> None:
    from transformers import (
        LlavaOnevisionConfig,
        LlavaOnevisionForConditionalGeneration,
        Qwen2Config,
        SiglipVisionConfig,
    )

    hidden, mlp, layers, heads, kv_heads, vocab = {
        "0.5b": (896, 4864, 24, 14, 2, 151936),
        "7b": (3584, 18944, 28, 28, 4, 152064),
        "72b": (8192, 29568, 80, 64, 8, 152064),
    }[size]
    language = Qwen2Config(
        vocab_size=vocab, hidden_size=hidden, intermediate_size=mlp, num_hidden_layers=layers,
        num_attention_heads=heads, num_key_value_heads=kv_heads, tie_word_embeddings=size == "0.5b",
    )  # fmt: skip
    vision = SiglipVisionConfig(
        hidden_size=1152, intermediate_size=4304, num_hidden_layers=26, num_attention_heads=16, image_size=384,
        patch_size=14, vision_use_head=False,
    )  # fmt: skip
    config = LlavaOnevisionConfig(text_config=language, vision_config=vision, tie_word_embeddings=size == "0.5b")
    with torch.device("meta"):
        model = LlavaOnevisionForConditionalGeneration(config)
    counts = {"vision": 0, "projector": 0, "language": 0}
    for name, parameter in model.named_parameters():
        part = "vision" if "vision_tower" in name else "projector" if "projector" in name else "language"
        counts[part] += parameter.numel()
    assert counts == PARAMETERS[size]
