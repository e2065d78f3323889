"""Every kind of drawing by name: the one table that training, evaluation and examples choose from."""

from __future__ import annotations

from functools import partial
from types import ModuleType

from ovexport.train.drawn import (
    album,
    arrival,
    bars,
    drills,
    motion,
    pair,
    repaint,
    shapes,
    sign,
    small_text,
    sum_picture,
    table,
    words,
)
from ovexport.train.drawn.kind import Kind

_MODULES: dict[str, ModuleType] = {
    "shapes": shapes,
    "sign": sign,
    "small-text": small_text,
    "bars": bars,
    "table": table,
    "sum-picture": sum_picture,
    "words": words,
    "album": album,
    "pair": pair,
    "motion": motion,
    "arrival": arrival,
    "repaint": repaint,
}
KINDS: dict[str, Kind] = {name: Kind(families=module.FAMILIES, draw=module.draw) for name, module in _MODULES.items()}
# Trained on and never asked: a few things first, or what has to do with several is not learned (docs/log.md);
# and what is learned late, often.
FIRST_STEPS: dict[str, Kind] = {
    "few-shapes": Kind(families=shapes.FAMILIES, draw=partial(shapes.draw, most_things=2)),
    "letters": Kind(families=drills.LETTERS, draw=drills.draw_letters),
    "sides": Kind(families=shapes.FAMILIES, draw=drills.draw_sides),
}
SINGLE_IMAGE = ("shapes", "sign", "small-text", "bars", "table", "sum-picture")
MULTI_IMAGE = ("album", "pair")
VIDEO = ("motion", "arrival", "repaint")
