"""A Qwen2 and a SigLIP that transformers saved become one LLaVA-OneVision that computes what the two compute."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_checkpoint import change_json, change_tensors, hf_tokenizer, write_json, write_vocab_files
from tiny_oracle import relative_error
from tokenizers import Tokenizer
from transformers import (
    LlavaOnevisionForConditionalGeneration,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen2Tokenizer,
    SiglipConfig,
    SiglipModel,
    SiglipVisionConfig,
    SiglipVisionModel,
)
from transformers.models.siglip.modeling_siglip import SiglipEncoder

from ovengines.errors import ExitCode, OVError
from ovexport.checkpoint import load_model, open_checkpoint, save_checkpoint
from ovexport.checkpoint.assemble import Assembled, assemble
from ovrun.tiling.plan import plan_image

ENDOFTEXT, IM_END, IMAGE, VIDEO = 300, 302, 303, 304  # ids in the tokenizer of tiny_checkpoint


def randomised(model: torch.nn.Module, seed: int) -> Any:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def write_language(folder: Path, seed: int, *, max_shard_size: str = "5GB", **changes: Any) -> Qwen2ForCausalLM:
    """As Qwen2-Instruct is published: vocab and merges, no visual tokens, a head that is tied or not."""
    rng = random.Random(seed)
    kv_heads = rng.choice((1, 2))
    fields: dict[str, Any] = {
        "vocab_size": 330,
        "hidden_size": 24,
        "intermediate_size": rng.choice((20, 36)),
        "num_hidden_layers": rng.choice((1, 3)),
        "num_attention_heads": 2,
        "num_key_value_heads": kv_heads,
        "tie_word_embeddings": rng.random() < 0.5,
        "rope_theta": 1e6,  # transformers 5 writes it into rope_parameters
        "max_position_embeddings": 512,
        "eos_token_id": IM_END,
        "pad_token_id": None,
    }
    model = randomised(Qwen2ForCausalLM(Qwen2Config(**{**fields, **changes})), seed)
    model.save_pretrained(folder, max_shard_size=max_shard_size)
    write_vocab_files(folder)
    return model


def write_vision(folder: Path, seed: int, form: str = "whole", **changes: Any) -> SiglipVisionModel:
    """`form`: the whole SigLIP, or its vision half as transformers 4 or 5 writes it. Returns the vision half."""
    rng = random.Random(seed)
    fields: dict[str, Any] = {
        "hidden_size": 16,
        "intermediate_size": rng.choice((20, 36)),
        "num_hidden_layers": rng.choice((2, 3, 4)),
        "num_attention_heads": 2,
        "image_size": 30,
        "patch_size": rng.choice((7, 10)),
        **changes,
    }
    if form == "whole":
        text = {"hidden_size": 16, "intermediate_size": 20, "num_hidden_layers": 1, "num_attention_heads": 2}
        whole = randomised(SiglipModel(SiglipConfig(vision_config=fields, text_config=text)), seed)
        whole.save_pretrained(folder)
        change_json(folder / "config.json", **dict.fromkeys(DEFAULTS))
        half = SiglipVisionModel(SiglipVisionConfig(**fields)).eval()
        getattr(half, "vision_model", half).load_state_dict(whole.vision_model.state_dict())  # as 4.57 nests it
        return half
    half = randomised(SiglipVisionModel(SiglipVisionConfig(**fields)), seed)
    half.save_pretrained(folder)
    tensors = load_file(folder / "model.safetensors")
    bare = {name.removeprefix("vision_model."): tensor for name, tensor in tensors.items()}
    prefix = "vision_model." if form == "half of transformers 4" else ""
    save_file({prefix + name: tensor for name, tensor in bare.items()}, folder / "model.safetensors")
    return half


# The published config.json has none of the fields that are the class's defaults.
DEFAULTS = tuple(
    f"vision_config__{field}"
    for field in ("num_channels", "hidden_act", "layer_norm_eps", "attention_dropout", "vision_use_head")
)
FORMS = ("whole", "half of transformers 4", "half of transformers 5")


def write_parts(folder: Path, seed: int, form: str = "whole") -> tuple[Qwen2ForCausalLM, SiglipVisionModel]:
    return write_language(folder / "qwen", seed), write_vision(folder / "siglip", seed, form)


def joined(folder: Path, **options: Any) -> Assembled:
    return assemble(folder / "qwen", folder / "siglip", **options)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("seed", range(3))
def test_each_part_computes_what_it_computed(tmp_path: Path, seed: int, form: str) -> None:
    language, vision = write_parts(tmp_path, seed, form)
    model = load_model(joined(tmp_path), torch.float32)
    size = vision.config.image_size
    pixels_NCHW, ids_BS = torch.randn(2, 3, size, size), torch.randint(0, 300, (2, 9))
    with torch.no_grad():
        expected = vision(pixels_NCHW, output_hidden_states=True).hidden_states[-2]
        assert relative_error(model.vision_tower(pixels_NCHW), expected) < 1e-5, f"seed {seed}"
        assert relative_error(model(ids_BS).logits_BKV, language(ids_BS).logits) < 1e-5, f"seed {seed}"


@pytest.mark.parametrize("seed", range(3))
def test_transformers_loads_what_is_saved_of_it(tmp_path: Path, seed: int) -> None:
    """transformers' model of the same parts: its tower is SigLIP's first layers, its logits ours."""
    _, vision = write_parts(tmp_path, seed)
    assembled = joined(tmp_path)
    model = load_model(assembled, torch.float32)
    options = {"tokenizer_json": assembled.tokenizer_json, "chat_template": assembled.chat_template}
    save_checkpoint(model, tmp_path / "one", dtype=torch.float32, **options)
    oracle, report = LlavaOnevisionForConditionalGeneration.from_pretrained(
        tmp_path / "one", dtype=torch.float32, output_loading_info=True
    )
    assert not report["missing_keys"] and not report["unexpected_keys"] and not report["mismatched_keys"]
    size, geometry = (50, 85), model.config.geometry
    plan = plan_image(*size, geometry)
    ids_BS = torch.tensor([[5, *[IMAGE] * plan.num_tokens, 6, 7]])
    pixels_NCHW = torch.randn(plan.num_tiles, 3, geometry.image_size_px, geometry.image_size_px)
    with torch.no_grad():
        got = model(ids_BS, pixels_NCHW, [plan]).logits_BKV
        expected = oracle(input_ids=ids_BS, pixel_values=pixels_NCHW[None], image_sizes=torch.tensor([size])).logits
        features = first_layers(vision, pixels_NCHW)
        their_features = oracle.model.vision_tower(pixels_NCHW, output_hidden_states=True).hidden_states[-1]
    assert relative_error(got, expected) < 1e-4, f"seed {seed}"
    assert relative_error(their_features, features) < 1e-5, f"seed {seed}"
    with open_checkpoint(tmp_path / "one") as checkpoint:
        assert checkpoint.config == model.config


def first_layers(vision: SiglipVisionModel, pixels_NCHW: torch.Tensor) -> torch.Tensor:
    """All layers but the last, one after the other."""
    x_NPD = next(m for n, m in vision.named_modules() if n.endswith("embeddings"))(pixels_NCHW)
    encoder = next(m for m in vision.modules() if isinstance(m, SiglipEncoder))
    for layer in list(encoder.layers)[:-1]:
        out = layer(x_NPD, None)
        x_NPD = out[0] if isinstance(out, tuple) else out
    return x_NPD


def test_tokens_geometry_and_template(tmp_path: Path) -> None:
    write_parts(tmp_path, 0)
    assembled = joined(tmp_path)
    config = assembled.config
    ids = (config.image_token_id, config.video_token_id, config.pad_token_id, config.eos_token_ids)
    assert ids == (IMAGE, VIDEO, ENDOFTEXT, (IM_END,))
    tokenizer = Tokenizer.from_str(assembled.tokenizer_json.decode())
    text = "<|im_start|>user\n<image><video>\nabc é 12<|im_end|>"
    expected = Qwen2Tokenizer.from_pretrained(tmp_path / "qwen")
    expected.add_special_tokens({"additional_special_tokens": ["<image>", "<video>"]})
    assert tokenizer.encode(text, add_special_tokens=False).ids == expected.encode(text)
    geometry = config.geometry
    assert geometry.grid_pinpoints == tuple((30 * i, 30 * j) for i in range(1, 7) for j in range(1, 7))
    assert (geometry.max_tiles, geometry.unpad_rounding) == (9, "hf")
    assert geometry.image_mean == geometry.image_std == (0.5, 0.5, 0.5)
    assert "<image>" in assembled.chat_template and "<video>" in assembled.chat_template
    other = joined(tmp_path, grids=((1, 2), (2, 1)), max_tiles=None).config.geometry
    assert other.grid_pinpoints == ((30, 60), (60, 30)) and other.max_tiles is None


def test_the_last_layer_and_the_head_are_dropped(tmp_path: Path) -> None:
    _, vision = write_parts(tmp_path, 1)
    config = joined(tmp_path).config.vision
    assert config.num_layers == vision.config.num_hidden_layers - 1 and config.has_post_layernorm
    model = load_model(joined(tmp_path), torch.float32)
    theirs = {name.removeprefix("vision_model."): tensor for name, tensor in vision.state_dict().items()}
    assert torch.equal(model.vision_tower.post_layernorm.weight, theirs["post_layernorm.weight"])
    assert sum(p.numel() for p in model.vision_tower.parameters()) < sum(t.numel() for t in theirs.values())


@pytest.mark.parametrize("rows", [303, 304])
@pytest.mark.parametrize("tied", [True, False])
def test_table_without_rows_for_the_visual_tokens(tmp_path: Path, rows: int, tied: bool) -> None:
    """New rows are the mean of the others, as transformers' resize makes them, without its noise."""
    language = write_language(tmp_path / "qwen", 0, vocab_size=rows, tie_word_embeddings=tied)
    write_vision(tmp_path / "siglip", 0)
    assembled = joined(tmp_path)
    assert assembled.config.language.vocab_size == VIDEO + 1
    model = load_model(assembled, torch.float32)
    tables = (
        (model.language_model.embed_tokens.weight, language.model.embed_tokens.weight.detach()),
        (model.language_model.head_weight_VD, language.lm_head.weight.detach()),
    )
    for ours_VD, theirs_VD in tables:
        assert torch.equal(ours_VD[:rows], theirs_VD)
        assert relative_error(ours_VD[rows:], theirs_VD.mean(dim=0).expand(VIDEO + 1 - rows, -1)) < 1e-5


def test_visual_tokens_that_the_language_model_has(tmp_path: Path) -> None:
    """As where the same tokenizer has served before: they keep their ids."""
    write_parts(tmp_path, 0)
    (tmp_path / "qwen" / "vocab.json").unlink()
    hf_tokenizer().save_pretrained(tmp_path / "qwen")
    config = joined(tmp_path).config
    assert (config.image_token_id, config.video_token_id) == (IMAGE, VIDEO)


def test_shards_and_dtypes(tmp_path: Path) -> None:
    language = write_language(tmp_path / "qwen", 0, max_shard_size="20KB")
    assert len(list((tmp_path / "qwen").glob("*.safetensors"))) > 1
    vision = write_vision(tmp_path / "siglip", 0)
    tensors = load_file(tmp_path / "siglip" / "model.safetensors")
    save_file({name: tensor.half() for name, tensor in tensors.items()}, tmp_path / "siglip" / "model.safetensors")
    assembled = joined(tmp_path)
    model = load_model(assembled, torch.bfloat16)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    assert assembled.tensor("vision_tower.patch_embedding.weight").dtype == torch.float16
    state = {name.removeprefix("vision_model."): tensor for name, tensor in vision.state_dict().items()}
    expected = state["embeddings.patch_embedding.weight"].half().bfloat16()
    assert torch.equal(model.vision_tower.patch_embedding.weight, expected)
    assert torch.equal(model.language_model.norm.weight, language.model.norm.weight.bfloat16())


def test_fresh_weights_depend_on_the_seed_only(tmp_path: Path) -> None:
    write_parts(tmp_path, 0)
    one, same, other = (joined(tmp_path, seed=seed) for seed in (5, 5, 6))
    fresh = [name for name in one.names() if name.startswith(("projector", "image_newline"))]
    assert len(fresh) == 5
    torch.manual_seed(1)
    for name in reversed(fresh):
        assert torch.equal(one.tensor(name), same.tensor(name)), name
        assert not torch.equal(one.tensor(name), other.tensor(name)), name
    values = torch.cat([one.tensor(name).flatten() for name in fresh])
    assert len(values.unique()) == len(values)


def test_fresh_weights_are_spread_as_torch_spreads_them(tmp_path: Path) -> None:
    write_language(tmp_path / "qwen", 0, hidden_size=384, num_attention_heads=4, num_key_value_heads=2)
    write_vision(tmp_path / "siglip", 0, hidden_size=192)
    assembled = joined(tmp_path, seed=3)
    for name, layer in (("linear_1", torch.nn.Linear(192, 384)), ("linear_2", torch.nn.Linear(384, 384))):
        for kind, expected in layer.named_parameters():
            got = assembled.tensor(f"projector.{name}.{kind}")
            assert abs(float(got.std() / expected.detach().std()) - 1) < 0.15 and got.shape == expected.shape, (
                name,
                kind,
            )
            assert got.abs().max() <= layer.in_features**-0.5
    newline_D = assembled.tensor("image_newline")
    assert abs(float(newline_D.std()) * 384**0.5 - 1) < 0.2


def test_the_model_of_it_has_no_second_copy(tmp_path: Path) -> None:
    """Without a dtype the parameters are the mapped files."""
    write_parts(tmp_path, 0)
    assembled = joined(tmp_path)
    model = load_model(assembled)
    assert assembled.names() == [name for name, _ in model.named_parameters()]
    for name, parameter in model.named_parameters():
        mapped = name.startswith(("language_model", "vision_tower"))
        assert (assembled.tensor(name).data_ptr() == parameter.data_ptr()) == mapped, name


def break_layer(folder: Path) -> None:
    change_tensors(folder / "siglip", **{"vision_model.encoder.layers.0.mlp.fc1.weight": None})


def misshape(folder: Path) -> None:
    change_tensors(folder / "siglip", **{"vision_model.embeddings.position_embedding.weight": torch.zeros(5, 16)})


def add_layer(folder: Path) -> None:
    change_tensors(folder / "siglip", **{"vision_model.encoder.layers.9.mlp.fc1.weight": torch.zeros(2, 2)})


def drop_norm(folder: Path) -> None:
    change_tensors(folder / "qwen", **{"model.norm.weight": None})


def add_expert(folder: Path) -> None:
    change_tensors(folder / "qwen", **{"model.layers.0.mlp.experts.0.up_proj.weight": torch.zeros(2, 2)})


def plain_tokenizer(folder: Path) -> None:
    write_json(folder / "qwen" / "added_tokens.json", {})


def small_table(folder: Path) -> None:
    write_language(folder / "qwen", 2, vocab_size=290)


def one_layer(folder: Path) -> None:
    change_json(folder / "siglip" / "config.json", vision_config__num_hidden_layers=1)
    tensors = load_file(folder / "siglip" / "model.safetensors")
    kept = {n: t for n, t in tensors.items() if "vision_model.encoder.layers." not in n or ".layers.0." in n}
    save_file(kept, folder / "siglip" / "model.safetensors")


def swap(folder: Path) -> None:
    (folder / "qwen").rename(folder / "x")
    (folder / "siglip").rename(folder / "qwen")
    (folder / "x").rename(folder / "siglip")


def other_kind(folder: Path) -> None:
    change_json(folder / "siglip" / "config.json", model_type="clip")


def other_size(folder: Path) -> None:
    write_json(folder / "siglip" / "preprocessor_config.json", {"size": {"height": 224, "width": 224}})


def no_weights(folder: Path) -> None:
    (folder / "siglip" / "model.safetensors").rename(folder / "siglip" / "pytorch_model.bin")


FAULTS = [
    (break_layer, "vision tower .*siglip.* missing: vision_model.encoder.layers.0.mlp.fc1.weight"),
    (misshape, r"vision tower .*position_embedding.weight is \[5, 16\]"),
    (add_layer, "vision tower .*unexpected: vision_model.encoder.layers.9"),
    (drop_norm, "language model .*qwen.* missing: model.norm.weight"),
    (add_expert, "language model .*unexpected: model.layers.0.mlp.experts"),
    (plain_tokenizer, r"language model .*no token <\|im_end\|>"),
    (small_table, "language model .*13 tokens, such as .*, beyond the 290 rows"),
    (one_layer, "vision tower .*one layer"),
    (swap, "language model .*qwen.*model_type is 'siglip'"),
    (other_kind, "vision tower .*model_type is 'clip'"),
    (other_size, "vision tower .*preprocessor_config.json: size"),
    (no_weights, "vision tower .*pytorch_model.bin"),
]


@pytest.mark.parametrize(("fault", "message"), FAULTS, ids=[fault.__name__ for fault, _ in FAULTS])
def test_parts_that_do_not_fit(tmp_path: Path, fault: Any, message: str) -> None:
    write_parts(tmp_path, 2)
    fault(tmp_path)
    with pytest.raises(OVError, match=message) as caught:
        joined(tmp_path)
    assert caught.value.code == ExitCode.BAD_INPUT and caught.value.hint


def test_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(OVError, match=r"language model .*there is no folder"):
        joined(tmp_path)


def test_published_config_of_siglip_is_understood(tmp_path: Path) -> None:
    """The fields of google/siglip-so400m-patch14-384's config.json, and no other."""
    write_parts(tmp_path, 0)
    vision = json.loads((tmp_path / "siglip" / "config.json").read_text())["vision_config"]
    published = ("hidden_size", "image_size", "intermediate_size", "model_type", "num_attention_heads")
    kept = {field: vision[field] for field in (*published, "num_hidden_layers", "patch_size")}
    write_json(tmp_path / "siglip" / "config.json", {"model_type": "siglip", "vision_config": kept})
    assert joined(tmp_path).config.vision.layer_norm_eps == 1e-6
