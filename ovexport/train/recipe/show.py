"""A recipe as a table of names, values and origins, or as JSON; and what follows from its values."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ovexport.train.recipe.kinds import KINDS
from ovexport.train.recipe.recipe import FIELDS, Recipe, Resolved
from ovexport.train.recipe.sizes import PAPER_PARAMETERS, PARAMETERS, patches_per_view
from ovexport.train.recipe.tokens import most_image_tokens, most_video_tokens

Line = tuple[str, str, str]


def as_table(resolved: Resolved) -> str:
    values = [(name, KINDS[name].write(getattr(resolved.recipe, name)), resolved.origins[name]) for name in FIELDS]
    return "\n".join([*_aligned([("name", "value", "origin"), *values]), "", *_aligned(derived(resolved.recipe))])


def as_json(resolved: Resolved) -> dict[str, Any]:
    recipe = resolved.recipe
    return {
        "recipe": {name: {"value": getattr(recipe, name), "origin": resolved.origins[name]} for name in FIELDS},
        "derived": {name: {"value": value, "origin": origin} for name, value, origin in derived(recipe)},
    }


def derived(recipe: Recipe) -> list[Line]:
    """What follows from the values: name, value, from what."""
    return [
        ("vision : language rate", _rates(recipe), "vision_lr : language_lr"),
        (
            "micro-batches per step",
            f"{recipe.global_batch // recipe.device_batch:,}",
            "global_batch / device_batch; the devices share them",
        ),
        ("tokens per view", f"{patches_per_view(recipe.size):,}", "one square tile"),
        ("tokens per image, at most", f"{most_image_tokens(recipe):,}", "views, newlines and the slack of the cap"),
        ("tokens per video, at most", f"{most_video_tokens(recipe):,}", "pooled frames and one newline"),
        *_parameters(recipe),
    ]


def _rates(recipe: Recipe) -> str:
    if not {"vision", "language"} <= {*recipe.trainable}:
        return "none: frozen"
    return f"1 : {recipe.language_lr / recipe.vision_lr:.4g}"


def _parameters(recipe: Recipe) -> Iterable[Line]:
    """The paper's number is of the released parts, which another `trainable` is not."""
    if recipe.size not in PARAMETERS:
        return
    stage1, later = PAPER_PARAMETERS[recipe.size]
    printed = {("projector",): stage1, ("vision", "projector", "language"): later}.get(recipe.trainable)
    if printed:
        yield "trainable parameters, printed", printed, "paper table 1"
    count = sum(PARAMETERS[recipe.size][part] for part in recipe.trainable)
    yield "trainable parameters, counted", f"{count:,}", "the architecture"


def _aligned(lines: list[Line]) -> list[str]:
    widths = [max(len(line[column]) for line in lines) for column in range(2)]
    return [f"{name:<{widths[0]}}  {value:<{widths[1]}}  {origin}".rstrip() for name, value, origin in lines]
