"""Text and TOML values -> values of a recipe, by the type of the field; and back to text.

A table of kinds, one per type that Recipe uses. `read(write(value)) == value` for every kind. Ranges and what values
mean are not known here (rules.py).
"""

from __future__ import annotations

import math
import re
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ovexport.train.recipe.recipe import Recipe

_PAIR = re.compile(r"\(?\s*(\d{1,2})\s*x\s*(\d{1,2})\s*\)?")
REFUSED = (ValueError, TypeError, OverflowError)
_SWITCHES = {"true": True, "yes": True, "false": False, "no": False}


@dataclass(frozen=True, kw_only=True)
class Kind:
    """`read` makes of text what a TOML file would hold, `accept` takes that; both raise what REFUSED lists."""

    what: str  # as in "... is not a whole number"
    read: Callable[[str], Any]
    accept: Callable[[Any], Any]
    write: Callable[[Any], str] = str


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError
    return value


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise TypeError
    return float(value)


def _switch(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _whole_or_none(value: Any) -> int | None:
    return None if value == "none" else _whole(value)  # TOML has no null


def _words(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        value = _split(value)
    if not isinstance(value, list):
        raise TypeError
    return tuple(_text(word) for word in value)


def _two_numbers(value: Any) -> tuple[float, float]:
    first, second = value
    return _number(first), _number(second)


def _grids(value: Any) -> tuple[tuple[int, int], ...]:
    pairs = _read_grids(value) if isinstance(value, str) else value
    return tuple((_whole(rows), _whole(columns)) for rows, columns in pairs)


def _split(text: str) -> list[str]:
    return [word.strip() for word in text.split(",")]


def _read_grids(text: str) -> list[tuple[int, int]]:
    """`2x1,1x2`, or as in the released scripts `(1x1),...,(6x6)`: all from the first to the last; `none` for none."""
    if text.strip() == "none":
        return []
    words = _split(text)
    spans = len(words) == 3 and words[1] == "..."
    matches = [_PAIR.fullmatch(word) for word in (words[::2] if spans else words)]
    pairs = [(int(match[1]), int(match[2])) for match in matches if match]
    if len(pairs) < len(matches):
        raise ValueError
    if not spans:
        return pairs
    (first_row, first_column), (last_row, last_column) = pairs
    return [(r, c) for r in range(first_row, last_row + 1) for c in range(first_column, last_column + 1)]


def _write_grids(grids: tuple[tuple[int, int], ...]) -> str:
    if not grids:
        return "none"
    short = "({0[0]}x{0[1]}),...,({1[0]}x{1[1]})".format(grids[0], grids[-1])
    if len(grids) > 2 and _read_grids(short) == list(grids):
        return short
    return ",".join(f"{rows}x{columns}" for rows, columns in grids)


def _write_number(value: float) -> str:
    return repr(value).replace("e-0", "e-")


_KINDS: dict[Any, Kind] = {
    str: Kind(what="a text", read=str, accept=_text),
    int: Kind(what="a whole number", read=int, accept=_whole),
    float: Kind(what="a number", read=float, accept=_number, write=_write_number),
    bool: Kind(
        what="true or false",
        read=lambda text: _SWITCHES.get(text.lower()),
        accept=_switch,
        write=lambda value: str(value).lower(),
    ),
    int | None: Kind(
        what="a whole number or none",
        read=lambda text: text if text == "none" else int(text),
        accept=_whole_or_none,
        write=lambda value: str(value).lower(),
    ),
    tuple[str, ...]: Kind(what="names with commas between them", read=_split, accept=_words, write=",".join),
    tuple[float, float]: Kind(
        what="two numbers, 0.9,0.999",
        read=lambda text: [float(word) for word in text.split(",")],
        accept=_two_numbers,
        write=lambda pair: ",".join(map(_write_number, pair)),
    ),
    tuple[tuple[int, int], ...]: Kind(
        what="grids such as 1x2,2x1 or (1x1),...,(6x6)", read=_read_grids, accept=_grids, write=_write_grids
    ),
}
KINDS: dict[str, Kind] = {name: _KINDS[hint] for name, hint in typing.get_type_hints(Recipe).items()}
