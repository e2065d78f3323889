"""The recipes against what was released, typed again here; overriding each value; and what is refused.

Oracles: the paper's table and the released scripts (retyped), transformers' choice of a grid and its parameter counts,
the runtime's own token plan.
"""

from __future__ import annotations

import dataclasses
import itertools
import random
import sys
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ovengines.errors import ExitCode, OVError
from ovexport import cli
from ovexport.train.data.spec import training_geometry
from ovexport.train.recipe import Recipe, resolve
from ovexport.train.recipe.kinds import KINDS
from ovexport.train.recipe.overrides import VALUES
from ovexport.train.recipe.recipe import FIELDS, MEANINGS
from ovexport.train.recipe.rules import CHOICES
from ovexport.train.recipe.show import as_table, derived
from ovexport.train.recipe.sizes import PARAMETERS, SIZES
from ovexport.train.recipe.stages import STAGES
from ovexport.train.recipe.tokens import geometry, most_image_tokens, most_video_tokens
from ovrun.tiling.grid import select_grid
from ovrun.tiling.plan import count_image_tokens, plan_image

STAGE_SIZES = list(itertools.product(STAGES, SIZES))
SIX_BY_SIX = tuple((i, j) for i in range(1, 7) for j in range(1, 7))

# The scripts' tables (7B), typed from them and not from stages.py.
COMMON: dict[str, Any] = {
    "epochs": 1.0,
    "max_steps": None,
    "optimizer": "adamw",
    "betas": (0.9, 0.999),
    "eps": 1e-8,
    "weight_decay": 0.0,
    "max_grad_norm": 1.0,
    "warmup_ratio": 0.03,
    "final_lr_ratio": 0.0,
    "loss_mean": "micro-batch",
    "labels": "released",
    "turns": "chained",
    "max_frames": 32,
    "video_fps": 1.0,
    "precision": "bf16",
    "recompute": True,
    "seed": 42,
    "rounded_share": 0.0,
}
LATER: dict[str, Any] = {
    **COMMON,
    "template": "qwen_1_5",
    "trainable": ("vision", "projector", "language"),
    "language_lr": 0.00001,
    "projector_lr": 0.00001,
    "vision_lr": 0.000002,
    "global_batch": 256,
    "grouping": "modality-length",
    "merge": "spatial_unpad",
    "max_length": 32768,
    "drop_last": True,
}
STAGE2: dict[str, Any] = {
    **LATER,
    "device_batch": 1,
    "aspect_ratio": "anyres_max_9",
    "grid_pinpoints": SIX_BY_SIX,
    "max_visual_tokens": 7290,
    "workers": 4,
    "save_every": 1000,
}
RELEASED: dict[str, dict[str, Any]] = {
    "stage1": {
        **COMMON,
        "start_from": "parts",
        "data": "stage1",
        "template": "plain",
        "trainable": ("projector",),
        "language_lr": 0.0,
        "projector_lr": 0.001,
        "vision_lr": 0.0,
        "global_batch": 512,
        "device_batch": 16,
        "grouping": "none",
        "aspect_ratio": "square",
        "merge": "flat",
        "grid_pinpoints": (),
        "max_visual_tokens": 729,
        "max_length": 8192,
        "workers": 16,
        "drop_last": False,
        "save_every": 500,
    },
    "stage1.5": {
        **LATER,
        "start_from": "stage1",
        "data": "stage1.5",
        "device_batch": 4,
        "aspect_ratio": "anyres",
        "grid_pinpoints": ((2, 1), (1, 2), (2, 2), (1, 3), (3, 1)),
        "max_visual_tokens": 3645,
        "workers": 16,
        "save_every": 3000,
    },
    "stage2-si": {**STAGE2, "start_from": "stage1.5", "data": "single_image"},
    "stage2-ov": {**STAGE2, "start_from": "stage2-si", "data": "onevision"},
}
BATCHES = {"0.5b": (512, 512, 512, 512), "7b": (512, 256, 256, 256), "72b": (512, 256, 256, 256)}


def refused(code: ExitCode, *fragments: str, **asked: Any) -> OVError:
    with pytest.raises(OVError) as caught:
        resolve(**{"stage": "stage2-ov", "size": "7b", **asked})
    assert caught.value.code == code, caught.value
    for fragment in fragments:
        assert fragment in str(caught.value), caught.value
    return caught.value


@pytest.mark.parametrize("stage", STAGES)
def test_7b_is_as_released(stage: str) -> None:
    values = dataclasses.asdict(resolve(stage, "7b").recipe)
    assert values == {"stage": stage, "size": "7b", **RELEASED[stage]}


@pytest.mark.parametrize("size", BATCHES)
def test_other_sizes_differ_in_batches_only(size: str) -> None:
    for stage, global_batch in zip(STAGES, BATCHES[size], strict=True):
        recipe = resolve(stage, size).recipe
        assert recipe.global_batch == global_batch, stage
        same = dataclasses.replace(resolve(stage, "7b").recipe, size=size, global_batch=global_batch)
        assert dataclasses.replace(recipe, device_batch=same.device_batch) == same, stage


@pytest.mark.parametrize(("stage", "size"), STAGE_SIZES)
def test_tower_has_one_fifth_of_the_language_models_rate(stage: str, size: str) -> None:
    recipe = resolve(stage, size).recipe
    if stage == "stage1":
        assert recipe.trainable == ("projector",)
        assert (recipe.vision_lr, recipe.language_lr) == (0, 0)
    else:
        assert recipe.trainable == ("vision", "projector", "language")
        assert recipe.vision_lr * 5 == pytest.approx(recipe.language_lr, rel=1e-12)


@pytest.mark.parametrize(("stage", "size"), STAGE_SIZES)
def test_visual_tokens_are_those_of_the_plan(stage: str, size: str) -> None:
    recipe = resolve(stage, size).recipe
    side_px, per_view = (104, 49) if size == "tiny" else (384, 729)
    if stage == "stage1":
        assert recipe.max_visual_tokens == per_view
        return
    views = {"stage1.5": 5, "stage2-si": 10, "stage2-ov": 10}[stage]
    rows, columns = max(recipe.grid_pinpoints, key=lambda grid: grid[0] * grid[1])
    plan = plan_image(rows * side_px, columns * side_px, geometry(recipe))
    assert plan.num_tokens - plan.map_size[0] == recipe.max_visual_tokens == views * per_view


@pytest.mark.parametrize(("stage", "size"), STAGE_SIZES)
def test_every_value_has_an_origin_and_a_meaning(stage: str, size: str) -> None:
    resolved = resolve(stage, size)
    assert tuple(resolved.origins) == FIELDS == tuple(MEANINGS) == tuple(KINDS)
    assert all(len(origin) > 3 for origin in resolved.origins.values())
    for name, (value, origin) in {**STAGES[stage], **SIZES[size].get(stage, {})}.items():
        assert (getattr(resolved.recipe, name), resolved.origins[name]) == (value, origin)
    if size != "tiny":
        assert "ov-tiny" not in " ".join(resolved.origins.values())


def test_disagreements_are_told() -> None:
    """Where paper, scripts, code and checkpoints differ, the origin names both sides."""
    told = {
        ("stage1", "vision_lr"): ("1e-3", "frozen"),
        ("stage1", "max_length"): ("32768", "pretrain_siglip"),
        ("stage1", "merge"): ("image_newline", "stage 1.5"),
        ("stage1.5", "data"): ("4.8M", "4.7M", "mid_stage.yaml"),
        ("stage1.5", "start_from"): ("none is released",),
        ("stage1.5", "grid_pinpoints"): ("(width, height)", "a4"),
        ("stage2-si", "data"): ("3.24M", "3.15M", "3.6M"),
        ("stage2-si", "global_batch"): ("512", "256"),
        ("stage2-si", "loss_mean"): ("transformers 4.40", "newer"),
        ("stage2-si", "labels"): ("headers", "newlines"),
        ("stage2-si", "max_visual_tokens"): ("slack", "newlines"),
        ("stage2-ov", "data"): ("1.6M", "1.3M", "2M"),
        ("stage2-ov", "merge"): ("one newline", "per row"),
        ("stage2-ov", "max_frames"): ("last frame", "transformers"),
    }
    for (stage, name), fragments in told.items():
        origin = resolve(stage, "7b").origins[name]
        assert all(fragment in origin for fragment in fragments), (stage, name, origin)


def test_stage_1_5_takes_the_grids_of_llava_next() -> None:
    """transformers' arithmetic on (width, height), which is how LLaVA-NeXT reads images and pinpoints alike."""
    from transformers.image_processing_utils import select_best_resolution

    seed = 5
    draw = random.Random(seed)
    pinpoints_wh = [(384, 768), (768, 384), (768, 768), (1152, 384), (384, 1152)]
    spec = geometry(resolve("stage1.5", "7b").recipe)
    swapped_differs = 0
    for _ in range(3000):
        width, height = draw.randint(1, 1600), draw.randint(1, 1600)
        best_width, best_height = select_best_resolution((width, height), pinpoints_wh)
        grid = (best_height // 384, best_width // 384)
        assert select_grid(height, width, spec) == grid, (seed, width, height)
        swapped_differs += select_best_resolution((height, width), pinpoints_wh) != (grid[0] * 384, grid[1] * 384)
    assert swapped_differs > 0


def test_geometry_is_that_of_training() -> None:
    for stage, size in STAGE_SIZES:
        recipe = resolve(stage, size).recipe
        if recipe.grid_pinpoints:
            spec = geometry(recipe)
            assert training_geometry(spec, recipe.aspect_ratio, recipe.grid_pinpoints) == spec


def test_most_tokens() -> None:
    """8,765 and 6,273 were found by brute force over all sizes up to 2400 x 2400 of the released code."""
    recipe = resolve("stage2-ov", "7b").recipe
    assert (most_image_tokens(recipe), most_video_tokens(recipe)) == (8765, 6273)
    seed = 11
    draw = random.Random(seed)
    for size in ("7b", "tiny"):
        for stage in ("stage1.5", "stage2-ov"):
            recipe = resolve(stage, size).recipe
            most, spec = most_image_tokens(recipe), geometry(recipe)
            for _ in range(500):
                height, width = draw.randint(20, 2400), draw.randint(20, 2400)
                assert count_image_tokens(height, width, spec) <= most, (seed, size, stage, height, width)


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


# Values that may be drawn for a field, as (value, what else must be given for it to be allowed).
_RATE = st.floats(1e-9, 1).map(lambda rate: (rate, {}))
_SHARE = st.floats(0, 1).map(lambda share: (share, {}))
_SQUARE = {"aspect_ratio": "square", "merge": "flat", "grid_pinpoints": "none"}
_GRIDS = st.lists(st.tuples(st.integers(1, 12), st.integers(1, 12)), min_size=1, max_size=20, unique=True)
_NAMES = st.text("abcdefghij./-_0123456789", min_size=1).filter(lambda text: text.strip() and text != "stage2-si")


def _whole(least: int, most: int) -> st.SearchStrategy[tuple[int, dict[str, str]]]:
    return st.integers(least, most).map(lambda number: (number, {}))


def _one_of(name: str) -> st.SearchStrategy[tuple[str, dict[str, str]]]:
    return st.sampled_from(CHOICES[name]).map(lambda choice: (choice, {}))


DRAWN: Mapping[str, st.SearchStrategy[tuple[Any, dict[str, str]]]] = {
    "start_from": _NAMES.map(lambda text: (text, {})),
    "data": _NAMES.map(lambda text: (text, {})),
    "template": st.sampled_from([("plain", _SQUARE), ("qwen_1_5", {}), ("qwen_1_5", _SQUARE)]),
    "trainable": st.permutations(["vision", "projector", "language"]).flatmap(
        lambda parts: st.integers(1, 3).map(lambda number: (tuple(parts[:number]), {}))
    ),
    "language_lr": _RATE,
    "projector_lr": _RATE,
    "vision_lr": _RATE,
    "global_batch": _whole(1, 1_000_000),
    "device_batch": _whole(1, 1000).map(lambda drawn: (drawn[0], {"global_batch": str(3 * drawn[0])})),
    "epochs": st.floats(0.01, 1000).map(lambda number: (number, {})),
    "max_steps": st.none().map(lambda none: (none, {})) | _whole(1, 10**9),
    "optimizer": _one_of("optimizer"),
    "betas": st.tuples(st.floats(0, 0.9999), st.floats(0, 0.9999)).map(lambda pair: (pair, {})),
    "eps": st.floats(1e-12, 1e-3).map(lambda number: (number, {})),
    "weight_decay": _SHARE,
    "max_grad_norm": st.floats(1e-3, 1e3).map(lambda number: (number, {})),
    "warmup_ratio": _SHARE,
    "final_lr_ratio": _SHARE,
    "loss_mean": _one_of("loss_mean"),
    "labels": _one_of("labels"),
    "turns": _one_of("turns"),
    "grouping": _one_of("grouping"),
    "aspect_ratio": st.sampled_from(
        [("anyres", {}), ("anyres_max_9", {}), ("square", {"merge": "flat", "grid_pinpoints": "none"})]
    ),
    "merge": st.sampled_from(
        [("spatial_unpad", {}), ("flat", {"aspect_ratio": "square", "grid_pinpoints": "none"})]
    ),
    "grid_pinpoints": _GRIDS.map(lambda grids: (tuple(grids), {}))
    | st.just(((), {"aspect_ratio": "square", "merge": "flat"})),
    "max_visual_tokens": st.sampled_from(
        [(7290, {}), (729, _SQUARE), (729 * 5, {"grid_pinpoints": "2x2"}), (729 * 13, {"aspect_ratio": "anyres",
          "grid_pinpoints": "4x3"})]
    ),
    "max_length": _whole(2, 1_000_000),
    "max_frames": _whole(1, 10_000),
    "video_fps": st.floats(0.01, 1000).map(lambda number: (number, {})),
    "precision": _one_of("precision"),
    "recompute": st.booleans().map(lambda switch: (switch, {})),
    "workers": _whole(0, 1024),
    "seed": _whole(0, 2**32 - 1),
    "save_every": _whole(1, 10**9),
    "drop_last": st.booleans().map(lambda switch: (switch, {})),
    "rounded_share": _SHARE,
}  # fmt: skip


def test_drawn_values_are_of_all_fields() -> None:
    assert tuple(DRAWN) == VALUES


def as_toml(value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(as_toml, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    return f"'{'none' if value is None else value}'" if value is None or isinstance(value, str) else repr(value)


@pytest.mark.parametrize("name", VALUES)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_each_value_can_be_overridden(name: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    value, others = data.draw(DRAWN[name])
    shipped = resolve("stage2-si", "7b")
    text = KINDS[name].write(value)
    flags = resolve("stage2-si", "7b", None, {**others, name: text})
    assert (getattr(flags.recipe, name), flags.origins[name]) == (value, "command line")
    untouched = set(FIELDS) - {name, *others, "max_visual_tokens"}
    for other in untouched:
        assert getattr(flags.recipe, other) == getattr(shipped.recipe, other)
        assert flags.origins[other] == shipped.origins[other]
    file = tmp_path_factory.mktemp("recipe") / "mine.toml"
    file.write_text(f"{name} = {as_toml(value)}\n" + "".join(f"{key} = '{text}'\n" for key, text in others.items()
                                                             if key != "global_batch"))  # fmt: skip
    extra = {key: text for key, text in others.items() if key == "global_batch"}
    filed = resolve("stage2-si", "7b", file, extra)
    assert filed.recipe == flags.recipe
    assert filed.origins[name] == "file mine.toml"


def test_flag_goes_before_file_before_table(tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    file.write_text("stage = 'stage1.5'\nsize = '0.5b'\nseed = 1\nworkers = 2\nlanguage_lr = 1\n")
    resolved = resolve("stage1.5", "0.5b", file, {"seed": "3", "language_lr": "1e-4"})
    recipe = resolved.recipe
    assert (recipe.seed, recipe.workers, recipe.language_lr, recipe.save_every) == (3, 2, 1e-4, 3000)
    assert [resolved.origins[name] for name in ("seed", "workers")] == ["command line", "file a.toml"]


def test_visual_tokens_follow_the_views() -> None:
    resolved = resolve("stage2-ov", "tiny", None, {"grid_pinpoints": "(1x1),...,(2x3)"})
    assert resolved.recipe.grid_pinpoints == ((1, 1), (1, 2), (1, 3), (2, 1), (2, 2), (2, 3))
    assert resolved.recipe.max_visual_tokens == 49 * 7
    assert "follows" in resolved.origins["max_visual_tokens"]


@pytest.mark.parametrize(
    ("name", "text", "fragments"),
    [
        ("lerning_rate", "1", ("lerning_rate", "there are")),
        ("langauge_lr", "1", ("did you mean language_lr?",)),
        ("language-lr", "1", ("did you mean language_lr?",)),
        ("stage", "stage1", ("no value of a recipe",)),
        ("language_lr", "fast", ("'fast'", "not a number")),
        ("language_lr", "nan", ("not a number",)),
        ("language_lr", "inf", ("not a number",)),
        ("language_lr", "-1e-5", ("out of range", "command line")),
        ("language_lr", "0", ("must be positive", "language is trained")),
        ("vision_lr", "0.0", ("must be positive", "leave vision out of trainable")),
        ("global_batch", "12.5", ("not a whole number",)),
        ("global_batch", "0", ("out of range",)),
        ("global_batch", "", ("not a whole number",)),
        ("device_batch", "3", ("global_batch is 256", "multiple of device_batch")),
        ("max_steps", "-1", ("out of range",)),
        ("max_steps", "null", ("whole number or none",)),
        ("betas", "0.9", ("not two numbers",)),
        ("betas", "0.9,1", ("out of range",)),
        ("betas", "0.9,0.99,0.999", ("not two numbers",)),
        ("trainable", "vision,adapter", ("('vision', 'adapter')", "vision, projector, language")),
        ("trainable", "", ("not names",)),
        ("trainable", "vision,vision", ("twice",)),
        ("recompute", "maybe", ("true or false",)),
        ("precision", "fp16", ("bf16, fp32",)),
        ("optimizer", "adam", ("did you mean adamw?",)),
        ("template", "plain", ("needs square views",)),
        ("template", "vicuna_v1", ("plain, qwen_1_5",)),
        ("aspect_ratio", "square", ("does not go with merge",)),
        ("merge", "flat", ("does not go with merge",)),
        ("grid_pinpoints", "none", ("does not go with aspect_ratio",)),
        ("grid_pinpoints", "2x2,2x2", ("twice",)),
        ("grid_pinpoints", "0x2", ("out of range",)),
        ("grid_pinpoints", "(1x1),...,(9999x9999)", ("not grids",)),
        ("grid_pinpoints", "2by2", ("not grids",)),
        ("max_visual_tokens", "100", ("follows from",)),
        ("start_from", "stage2-ov", ("can't be the stage itself",)),
        ("data", " ", ("not a text",)),
        ("seed", "-1", ("out of range",)),
    ],
)
def test_wrong_values_are_refused(name: str, text: str, fragments: tuple[str, ...]) -> None:
    error = refused(ExitCode.USAGE, *fragments, overrides={name: text})
    assert error.hint


@pytest.mark.parametrize(
    ("line", "code", "fragments"),
    [
        ("langauge_lr = 1", ExitCode.USAGE, ("file a.toml", "did you mean language_lr?")),
        ("[stage1]\nseed = 1", ExitCode.USAGE, ("stage1 (file a.toml)",)),
        ("language_lr = '1e-5'", ExitCode.USAGE, ("'1e-5'", "not a number")),
        ("language_lr = true", ExitCode.USAGE, ("not a number",)),
        ("language_lr = nan", ExitCode.USAGE, ("not a number",)),
        (f"language_lr = 1{'0' * 400}", ExitCode.USAGE, ("not a number",)),
        ("seed = 1.0", ExitCode.USAGE, ("not a whole number",)),
        ("seed = true", ExitCode.USAGE, ("not a whole number",)),
        ("recompute = 1", ExitCode.USAGE, ("true or false",)),
        ("recompute = 'true'", ExitCode.USAGE, ("true or false",)),
        ("betas = [0.9, '0.99']", ExitCode.USAGE, ("two numbers",)),
        ("betas = 0.9", ExitCode.USAGE, ("two numbers",)),
        ("trainable = [1]", ExitCode.USAGE, ("names",)),
        ("grid_pinpoints = [[1, 2, 3]]", ExitCode.USAGE, ("grids",)),
        ("grid_pinpoints = [[1.0, 2]]", ExitCode.USAGE, ("grids",)),
        ("data = 1979-05-27", ExitCode.USAGE, ("not a text",)),
        ("size = '72b'", ExitCode.USAGE, ("size 72b, not 7b",)),
        ("seed = ", ExitCode.BAD_INPUT, ("not TOML", "a.toml")),
        ("seed = 1\nseed = 2", ExitCode.BAD_INPUT, ("not TOML",)),
        ("x = " + "[" * 5000, ExitCode.BAD_INPUT, ("not TOML",)),
    ],
)
def test_wrong_files_are_refused(tmp_path: Path, line: str, code: ExitCode, fragments: tuple[str, ...]) -> None:
    file = tmp_path / "a.toml"
    file.write_text(line)
    assert refused(code, *fragments, file=file).hint


def test_unreadable_files_are_refused(tmp_path: Path) -> None:
    refused(ExitCode.BAD_INPUT, "none.toml", file=tmp_path / "none.toml")
    refused(ExitCode.BAD_INPUT, "can't be read", file=tmp_path)
    (tmp_path / "latin.toml").write_bytes(b"data = '\xe4'")
    refused(ExitCode.BAD_INPUT, "not TOML", file=tmp_path / "latin.toml")


def test_unknown_stages_and_sizes_are_refused() -> None:
    refused(ExitCode.USAGE, "did you mean stage2-ov?", stage="stage2_ov")
    refused(ExitCode.USAGE, "0.5b, 7b, 72b, tiny", size="13b")


def test_older_pythons_read_toml_with_tomli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.toml"
    file.write_text("seed = 7")
    monkeypatch.setitem(sys.modules, "tomllib", None)
    monkeypatch.setitem(sys.modules, "tomli", None)
    refused(ExitCode.MISSING_DEPENDENCY, "pip install tomli", file=file)
    monkeypatch.setitem(sys.modules, "tomli", types.SimpleNamespace(loads=lambda text: {"seed": len(text)}))
    assert resolve("stage1", "7b", file).recipe.seed == 8


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


def test_recipe_is_frozen() -> None:
    recipe: Recipe = resolve("stage1").recipe
    with pytest.raises(dataclasses.FrozenInstanceError):
        recipe.seed = 1  # type: ignore[misc]


DOCUMENT = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")


def test_documented_table_is_the_recipes() -> None:
    recipes = [resolve(stage, "7b").recipe for stage in STAGES]
    rows = [line.strip("| ").split(" | ") for line in DOCUMENT.splitlines() if line.startswith("| `")]
    told = {row[0].strip("`"): row[1:] for row in rows if row[0].strip("`") in VALUES}
    assert told == {name: [KINDS[name].write(getattr(recipe, name)) for recipe in recipes] for name in told}
    differing = {name for name in VALUES if len({getattr(recipe, name) for recipe in recipes}) > 1}
    assert differing == set(told)


def test_documented_commands_are_taken() -> None:
    lines = [line.split("ovexport train ", 1)[1] for line in DOCUMENT.splitlines() if "ovexport train s" in line]
    commands = [line for line in lines if "`" not in line]
    assert len(commands) >= 10
    for line in commands:
        args = cli.parse(["train", *line.split()])
        given = {name: text for name in VALUES if (text := getattr(args, name)) is not None}
        resolve(args.shown or args.stage, args.size, None, given)


def test_documented_file_is_taken(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(DOCUMENT.split("```toml\n")[1].split("```")[0])
    recipe = resolve("stage2-si", "0.5b", file).recipe
    assert (recipe.betas, len(recipe.grid_pinpoints)) == ((0.9, 0.95), 9)
