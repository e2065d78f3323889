"""Where a stage's weights come from: the stage before it by name, a folder, a Hub id, or the ready-made parts.

Knows the folders of runs; what is in a checkpoint is `ovexport.checkpoint`'s. Each checkpoint that a stage writes says
in training.json which stage and size it is of, so that stages can't be taken in the wrong order unseen.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ovengines.errors import ExitCode, OVError
from ovexport.checkpoint import Checkpoint, open_checkpoint
from ovexport.checkpoint.assemble import Assembled, assemble
from ovexport.train.recipe import STAGES, Recipe

CHECKPOINT, TRAINING_FILE = "checkpoint", "training.json"
# A tower and a language model that were trained elsewhere: published ones, for ov-tiny those of train/tiny/parts.py.
PARTS = "parts"
VISION_TOWER = "google/siglip-so400m-patch14-384"
_MADE_BY = {PARTS: "`make ov-tiny` makes them"}  # of other sizes, they are published
LANGUAGE_MODELS = {size: f"Qwen/Qwen2-{size.upper()}-Instruct" for size in ("0.5b", "7b", "72b")}
Source = Checkpoint | Assembled


def stage_folder(runs: Path, size: str, stage: str) -> Path:
    return runs / size / stage


def open_start(recipe: Recipe, runs: Path, start: str | None, *, any_stage: bool = False) -> Source:
    """What the stage starts from: `start` if given, else what the recipe names.

    Raises OVError (BAD_INPUT) for a stage that has not been trained, and for a checkpoint of another size or, unless
    `any_stage`, of another stage than the recipe's.
    """
    wanted = start or recipe.start_from
    named = wanted == PARTS or wanted in STAGES
    place: str | Path = stage_folder(runs, recipe.size, wanted) / CHECKPOINT if named else wanted
    if wanted == PARTS and recipe.size in LANGUAGE_MODELS and not Path(place).is_dir():
        return assemble(LANGUAGE_MODELS[recipe.size], VISION_TOWER, seed=recipe.seed)
    if named and not Path(place).is_dir():
        raise OVError(
            ExitCode.BAD_INPUT,
            f"{recipe.stage} starts from {wanted}, but {place} is not there",
            f"{_MADE_BY.get(wanted, f'train {wanted} first')}, or name a checkpoint with --start-from",
        )
    checkpoint = open_checkpoint(place)
    _check(recipe, checkpoint, read_training(Path(place)), str(place), any_stage=any_stage)
    return checkpoint


def read_training(folder: Path) -> dict[str, Any]:
    """training.json of a checkpoint folder; empty for checkpoints from elsewhere."""
    try:
        content = json.loads((folder / TRAINING_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _check(recipe: Recipe, checkpoint: Checkpoint, written: dict[str, Any], place: str, *, any_stage: bool) -> None:
    language = checkpoint.config.language
    found = language.hidden, language.num_layers
    expected = SHAPES.get(recipe.size, found)
    if found != expected:
        raise OVError(
            ExitCode.BAD_INPUT,
            f"{place} has a language model {found[0]} wide with {found[1]} layers;"
            f" size {recipe.size} has {expected[0]} and {expected[1]}",
            "name its own size with --size",
        )
    size = written.get("size", recipe.size)
    if size != recipe.size:
        raise OVError(ExitCode.BAD_INPUT, f"{place} is of size {size}, not {recipe.size}", f"give --size {size}")
    stage = written.get("stage")
    if stage and recipe.start_from in (PARTS, *STAGES) and stage != recipe.start_from and not any_stage:
        raise OVError(
            ExitCode.BAD_INPUT,
            f"{place} was written by {stage}, but {recipe.stage} starts from {recipe.start_from}",
            "give --any-stage if that is meant",
        )


# Hidden size and layers of the language models (Qwen2 configurations; ov-tiny's are its own and may change).
SHAPES: dict[str, tuple[int, int]] = {"0.5b": (896, 24), "7b": (3584, 28), "72b": (8192, 80)}
