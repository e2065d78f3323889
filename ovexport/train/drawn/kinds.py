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
# Trained on and never asked: little at a time first, or what tells things apart is not learned; then more at a time
# than is mostly asked for, and what takes long often (docs/log.md).
PRACTICE: dict[str, Kind] = {
    "few-shapes": Kind(families=shapes.FAMILIES, draw=partial(shapes.draw, things=(1, 2))),
    "few-sides": Kind(families=shapes.FAMILIES, draw=partial(drills.draw_sides, sides=("left of", "above"))),
    "few-bars": Kind(families=bars.FAMILIES, draw=partial(bars.draw, bars=(2, 3))),
    "few-rows": Kind(families=table.FAMILIES, draw=partial(table.draw, rows=(1, 2))),
    "few-lines": Kind(families=small_text.FAMILIES, draw=partial(small_text.draw, lines=(1, 2))),
    "many-shapes": Kind(families=shapes.FAMILIES, draw=partial(shapes.draw, things=(2, 4), alike=False)),
    "sides": Kind(families=shapes.FAMILIES, draw=drills.draw_sides),
    "letters": Kind(families=drills.LETTERS, draw=drills.draw_letters),
}
SINGLE_IMAGE = ("shapes", "sign", "small-text", "bars", "table", "sum-picture")
MULTI_IMAGE = ("album", "pair")
VIDEO = ("motion", "arrival", "repaint")
