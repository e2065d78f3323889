"""Folders of every layout open and compute what transformers computes with the same weights."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_checkpoint import (
    EOS_ID,
    IMAGE_ID,
    PAD_ID,
    ROWS,
    VIDEO_ID,
    change_json,
    change_tensors,
    checkpoint_config,
    llava_config,
    rename,
    write_hf,
    write_llava,
)
from tiny_oracle import relative_error

from ovexport.checkpoint import (
    load_language_model,
    load_model,
    load_projector,
    load_vision_tower,
    open_checkpoint,
)
from ovexport.checkpoint.layouts import LAYOUTS, detect_layout
from ovexport.model import OneVision, weights_upcast
from ovrun.tiling.plan import plan_image


def both_logits(model: OneVision, oracle: torch.nn.Module, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Of one prompt with one image. A size that both roundings treat alike, so that llava's folders can compare."""
    geometry = model.config.geometry
    height, width = 2 * geometry.image_size_px, geometry.image_size_px
    plan = plan_image(height, width, geometry)
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randn(plan.num_tiles, 3, geometry.image_size_px, geometry.image_size_px, generator=generator)
    ids_S = torch.tensor([3, 1, *[IMAGE_ID] * plan.num_tokens, 7, 9])
    with torch.no_grad():
        got = model(ids_S[None], pixels, [plan]).logits_BKV
        sizes = torch.tensor([[height, width]])
        expected = oracle(input_ids=ids_S[None], pixel_values=pixels[None], image_sizes=sizes).logits
    return got, expected


@pytest.mark.parametrize("layout", LAYOUTS[:-1], ids=lambda layout: layout.name)
@pytest.mark.parametrize("seed", range(3))
def test_transformers_names(tmp_path: Path, seed: int, layout: object) -> None:
    oracle = write_hf(tmp_path, seed, tied=seed % 2 == 0)
    rename(tmp_path, layout)  # type: ignore[arg-type]
    with open_checkpoint(tmp_path) as checkpoint:
        assert checkpoint.layout is layout
        assert checkpoint.config == checkpoint_config(seed, tied=seed % 2 == 0)
        got, expected = both_logits(load_model(checkpoint), oracle, seed)
        assert relative_error(got, expected) < 1e-4, f"seed {seed}"


@pytest.mark.parametrize("seed", range(4))
def test_as_saved_and_sharded(tmp_path: Path, seed: int) -> None:
    oracle = write_hf(tmp_path / "one", seed)
    write_hf(tmp_path / "many", seed, max_shard_size="10KB")
    assert len(list((tmp_path / "many").glob("*.safetensors"))) > 3
    with open_checkpoint(tmp_path / "one") as one, open_checkpoint(tmp_path / "many") as many:
        assert one.config == many.config and one.names() == many.names()
        assert all(torch.equal(one.tensor(name), many.tensor(name)) for name in one.names())
        assert one.tensor_bytes == many.tensor_bytes == sum(4 * one.tensor(n).numel() for n in one.names())
        got, expected = both_logits(load_model(many), oracle, seed)
    assert relative_error(got, expected) < 1e-4, f"seed {seed}"


@pytest.mark.parametrize("seed", range(4))
def test_llava_next_folder(tmp_path: Path, seed: int) -> None:
    oracle = write_llava(tmp_path, seed)
    with open_checkpoint(tmp_path) as checkpoint:
        assert checkpoint.layout is LAYOUTS[-1]
        assert checkpoint.config == llava_config(seed)
        got, expected = both_logits(load_model(checkpoint), oracle, seed)
        assert relative_error(got, expected) < 1e-4, f"seed {seed}"
        assert "<video>" not in checkpoint.chat_template and "<image>" in checkpoint.chat_template


def test_pinpoints_of_llava_next_are_width_then_height(tmp_path: Path) -> None:
    write_llava(tmp_path, 0)
    change_json(tmp_path / "config.json", image_grid_pinpoints="[(30, 60), (90, 30)]")
    with open_checkpoint(tmp_path) as checkpoint:
        assert checkpoint.config.geometry.grid_pinpoints == ((60, 30), (30, 90))
    change_json(tmp_path / "config.json", image_grid_pinpoints="(1x1),(1x2),(2x3)")
    with open_checkpoint(tmp_path) as checkpoint:
        expected = ((30, 30), (60, 30), (90, 30), (30, 60), (60, 60), (90, 60))
        assert checkpoint.config.geometry.grid_pinpoints == expected


def test_image_size_of_a_local_tower_is_known_for_so400m_only(tmp_path: Path) -> None:
    from ovengines.errors import OVError

    write_llava(tmp_path, 0)
    change_json(tmp_path / "config.json", mm_vision_tower="./my_tower")
    with pytest.raises(OVError, match="my_tower") as caught:
        open_checkpoint(tmp_path)
    assert "mm_vision_tower" in caught.value.hint


@pytest.mark.parametrize("seed", range(3))
def test_parts_are_mapped_and_equal_the_whole(tmp_path: Path, seed: int) -> None:
    write_hf(tmp_path, seed)
    with open_checkpoint(tmp_path) as checkpoint:
        model = load_model(checkpoint)
        tower, projector = load_vision_tower(checkpoint), load_projector(checkpoint)
        language = load_language_model(checkpoint)
        size = checkpoint.config.vision.image_size_px
        pixels = torch.randn(2, 3, size, size)
        ids = torch.randint(0, 300, (2, 7))
        features = model.vision_tower(pixels)
        assert torch.equal(tower(pixels), features)
        assert torch.equal(projector(features), model.projector(features))
        assert torch.equal(language.logits(language(language.embed(ids))), model(ids).logits_BKV)
        for name, parameter in model.named_parameters():
            assert parameter.data_ptr() == checkpoint.tensor(name).data_ptr(), f"{name} was copied"
        assert load_model(checkpoint, torch.float64).image_newline.dtype == torch.float64


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_sixteen_bit_weights_stay_so_and_compute_wide(tmp_path: Path, dtype: torch.dtype) -> None:
    oracle = write_hf(tmp_path, 5)
    tensors = {n: t.to(dtype) for n, t in load_file(tmp_path / "model.safetensors").items()}
    change_tensors(tmp_path, **tensors)
    with torch.no_grad():
        for parameter in oracle.parameters():
            parameter.copy_(parameter.to(dtype).float())
    with open_checkpoint(tmp_path) as checkpoint:
        model = load_model(checkpoint)
        assert {p.dtype for p in model.parameters()} == {dtype}
        with weights_upcast(model):
            got, expected = both_logits(model, oracle, 5)
    assert relative_error(got, expected) < 1e-4


def head_case(folder: Path, *, tied: bool) -> torch.Tensor:
    write_hf(folder, 1, tied=tied)
    return load_file(folder / "model.safetensors")["language_model.model.embed_tokens.weight"]


def test_tied_and_absent_or_stored_and_equal_is_tied(tmp_path: Path) -> None:
    table = head_case(tmp_path, tied=True)
    with open_checkpoint(tmp_path) as checkpoint:
        assert checkpoint.config.language.tie_word_embeddings
    change_tensors(tmp_path, **{"language_model.lm_head.weight": table.clone()})
    with open_checkpoint(tmp_path) as checkpoint:
        assert checkpoint.config.language.tie_word_embeddings
        assert "language_model.lm_head.weight" not in checkpoint.names()


def test_tied_but_another_head_is_stored_is_untied(tmp_path: Path) -> None:
    table = head_case(tmp_path, tied=True)
    change_tensors(tmp_path, **{"language_model.lm_head.weight": table + 1})
    with open_checkpoint(tmp_path) as checkpoint:
        assert not checkpoint.config.language.tie_word_embeddings
        assert torch.equal(checkpoint.tensor("language_model.lm_head.weight"), table + 1)


def test_published_half_billion_says_tied_in_the_text_config_only(tmp_path: Path) -> None:
    """huggingface/transformers#43617: `false` at the top, `true` below, and no head in the file."""
    head_case(tmp_path, tied=True)
    change_json(tmp_path / "config.json", tie_word_embeddings=False)
    with open_checkpoint(tmp_path) as checkpoint:
        assert checkpoint.config.language.tie_word_embeddings


def test_config_of_transformers_4(tmp_path: Path) -> None:
    """rope_theta instead of rope_parameters, defaults left out, keys of old versions, pinpoints as saved."""
    write_hf(tmp_path, 2)
    change_json(
        tmp_path / "config.json",
        text_config__rope_parameters=None,
        text_config__rope_theta=12345.0,
        text_config__rms_norm_eps=None,
        text_config__layer_types=None,
        text_config__sliding_window=32768,
        vision_config__layer_norm_eps=None,
        vision_config__num_channels=None,
        vision_aspect_ratio=None,
        ignore_index=-100,
        use_image_newline_parameter=True,
        torch_dtype="float16",
    )
    with open_checkpoint(tmp_path) as checkpoint:
        config = checkpoint.config
    assert config.language.rope_theta == 12345.0 and config.language.rms_norm_eps == 1e-6
    assert config.geometry.max_tiles == 9 and config.vision.layer_norm_eps == 1e-6


def test_ids_padding_rows_and_end_tokens(tmp_path: Path) -> None:
    write_hf(tmp_path, 0)
    change_json(tmp_path / "generation_config.json", eos_token_id=[EOS_ID, 300], pad_token_id=7)
    with open_checkpoint(tmp_path) as checkpoint:
        config = checkpoint.config
    assert (config.image_token_id, config.video_token_id) == (IMAGE_ID, VIDEO_ID)
    assert config.eos_token_ids == (EOS_ID, 300) and config.pad_token_id == 7
    assert config.language.vocab_size == ROWS
    change_json(tmp_path / "generation_config.json", eos_token_id=None, pad_token_id=None)
    change_json(tmp_path / "config.json", text_config__eos_token_id=None, text_config__pad_token_id=None)
    with open_checkpoint(tmp_path) as checkpoint:  # the tokenizer's own
        assert checkpoint.config.eos_token_ids == (EOS_ID,) and checkpoint.config.pad_token_id == PAD_ID


def test_processor_config_of_transformers_5_and_absent_means(tmp_path: Path) -> None:
    import json

    write_hf(tmp_path, 0)
    processor = json.loads((tmp_path / "preprocessor_config.json").read_text())
    (tmp_path / "preprocessor_config.json").unlink()
    with open_checkpoint(tmp_path) as checkpoint:
        assert checkpoint.config.geometry.image_mean == (0.5, 0.5, 0.5), "SigLIP's, not the class's CLIP values"
    processor["image_mean"] = [0.4, 0.3, 0.2]
    (tmp_path / "processor_config.json").write_text(json.dumps({"image_processor": processor}))
    with open_checkpoint(tmp_path) as checkpoint:
        assert checkpoint.config.geometry.image_mean == (0.4, 0.3, 0.2)


def test_hash_depends_on_every_weight_and_only_on_weights(tmp_path: Path) -> None:
    write_hf(tmp_path, 0)
    with open_checkpoint(tmp_path) as checkpoint:
        first = checkpoint.sha256()
        assert checkpoint.sha256() == first and len(first) == 64
    change_json(tmp_path / "config.json", ignore_index=-100)
    with open_checkpoint(tmp_path) as checkpoint:
        assert checkpoint.sha256() == first
    newline = load_file(tmp_path / "model.safetensors")["image_newline"]
    newline[-1] += 1e-3
    change_tensors(tmp_path, image_newline=newline)
    with open_checkpoint(tmp_path) as checkpoint:
        assert checkpoint.sha256() != first


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
def test_names_go_both_ways_and_are_told_apart_even_when_some_are_missing(layout: object, tmp_path: Path) -> None:
    from ovexport.checkpoint.fit import model_shapes

    own = list(model_shapes(checkpoint_config(0, tied=False)))
    files = [layout.file_name(name) for name in own]  # type: ignore[attr-defined]
    assert len(set(files)) == len(own)
    assert [layout.own_name(name) for name in files] == own  # type: ignore[attr-defined]
    for seed in range(20):
        some = random.Random(seed).sample(files, len(files) * 2 // 3)
        assert detect_layout(some) is layout, f"seed {seed}"
