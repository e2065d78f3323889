"""Each value of a recipe given in its place on the command line and in a file, and which of them counts."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ovexport.train.recipe import Recipe, resolve
from ovexport.train.recipe.kinds import KINDS
from ovexport.train.recipe.overrides import VALUES
from ovexport.train.recipe.recipe import FIELDS
from ovexport.train.recipe.rules import CHOICES

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


def test_recipe_is_frozen() -> None:
    recipe: Recipe = resolve("stage1").recipe
    with pytest.raises(dataclasses.FrozenInstanceError):
        recipe.seed = 1  # type: ignore[misc]
