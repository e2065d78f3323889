"""The recipe of a run: the stage's table, what the size changes of it, a file, and the command line, in that order."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ovengines.errors import ExitCode, OVError
from ovexport.train.recipe.names import did_you_mean
from ovexport.train.recipe.origins import ASKED, FOLLOWS, Row
from ovexport.train.recipe.overrides import from_command_line, from_file
from ovexport.train.recipe.recipe import FIELDS, Recipe, Resolved
from ovexport.train.recipe.rules import check, view_tokens
from ovexport.train.recipe.sizes import DEFAULT_SIZE, SIZES
from ovexport.train.recipe.stages import STAGES


def resolve(
    stage: str, size: str = DEFAULT_SIZE, file: Path | None = None, overrides: Mapping[str, str] | None = None
) -> Resolved:
    """The recipe and the origin of each of its values; `overrides` maps fields to text.

    Raises OVError: USAGE for unknown names and for values that are wrong alone or together, BAD_INPUT for a file that
    can't be read.
    """
    row = table(stage, size)
    given = {
        **(from_file(file, stage=stage, size=size) if file else {}),
        **from_command_line(overrides or {}),
    }
    values = {name: value for name, (value, _) in {**row, **given}.items()}
    origins = {name: origin for name, (_, origin) in {**row, **given}.items()}
    if given.keys() & {"aspect_ratio", "grid_pinpoints"} and "max_visual_tokens" not in given:
        values["max_visual_tokens"] = view_tokens(size, values["aspect_ratio"], values["grid_pinpoints"])
        origins["max_visual_tokens"] = FOLLOWS
    recipe = Recipe(**values)
    check(recipe, origins)
    return Resolved(recipe=recipe, origins={name: origins[name] for name in FIELDS})


def table(stage: str, size: str) -> Row:
    """The shipped values of a stage at a size."""
    for what, word, names in (("stage", stage, tuple(STAGES)), ("size", size, tuple(SIZES))):
        if word not in names:
            raise OVError(ExitCode.USAGE, f"{what} {word} is not known", did_you_mean(word, names))
    named = {"stage": (stage, ASKED), "size": (size, ASKED)}
    return {**named, **STAGES[stage], **SIZES[size].get(stage, {})}
