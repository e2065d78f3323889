"""Ruled tables: a letter and a number of two digits in each of three or four rows.

Knows nothing of tokens or models; sits on glyphs.py.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from PIL import Image, ImageDraw

from ovexport.train.drawn.family import Drawing, Exchange, Family, Mark, on_side, shuffled
from ovexport.train.drawn.glyphs import write_centred
from ovexport.train.drawn.scene import BACKGROUNDS
from ovexport.train.drawn.wording import listed, short

FAMILIES = (
    Family(
        name="table", vision_input="single-image", instruction="Doc/Chart/Screen", response="fixed-form", chance=1 / 90
    ),
)  # fmt: skip
_NUMBER_OF = ("What is the number of {0}?", "Which number belongs to {0}?", "What number is next to {0}?",
              "What does the table say for {0}?")  # fmt: skip
ROWS = (3, 4)
_LETTERS = "ABCDEFGHJKLMNPRSTUVWXYZ"  # without I, O and Q: too much like digits
_SIDE_PX = (160, 208)
_CAPITAL_PX = (15.0, 19.0)
_MARGIN_PX = 6
_INK, _RULE = (20, 20, 24), (110, 110, 116)


@dataclass(frozen=True)
class _Table:
    numbers: dict[str, int]  # by letter, from top to bottom

    @property
    def meaning(self) -> str:
        return "table " + "; ".join(f"{letter} {number}" for letter, number in self.numbers.items())


def _random_table(rng: random.Random, rows: tuple[int, int]) -> _Table:
    count = rng.randint(*rows)
    return _Table(dict(zip(rng.sample(_LETTERS, count), rng.sample(range(10, 100), count), strict=True)))


def _render(table: _Table, rng: random.Random) -> tuple[Image.Image, tuple[Mark, ...]]:
    width, height = rng.randint(*_SIDE_PX), rng.randint(*_SIDE_PX)
    image = Image.new("RGB", (width, height), rng.choice(list(BACKGROUNDS.values())))
    capital_px, rows = rng.uniform(*_CAPITAL_PX), len(table.numbers)
    left, right, top, bottom = _MARGIN_PX, width - _MARGIN_PX, _MARGIN_PX, height - _MARGIN_PX
    middle = round(left + rng.uniform(0.4, 0.5) * (right - left))
    edges = [round(top + row * (bottom - top) / rows) for row in range(rows + 1)]
    _rule(image, xs=(left, middle, right), ys=edges)
    marks: list[Mark] = []
    for (letter, number), y0, y1 in zip(table.numbers.items(), edges, edges[1:], strict=False):
        for text, x0, x1 in ((letter, left, middle), (str(number), middle, right)):
            marks += write_centred(
                image, text, x_px=(x0 + x1) / 2, y_px=(y0 + y1) / 2, capital_px=capital_px, rgb=_INK, colour="black"
            )  # fmt: skip
    return image, tuple(marks)


def _rule(image: Image.Image, *, xs: tuple[int, ...], ys: list[int]) -> None:
    pen = ImageDraw.Draw(image)
    for x in xs:
        pen.line((x, ys[0], x, ys[-1]), fill=_RULE)
    for y in ys:
        pen.line((xs[0], y, xs[-1], y), fill=_RULE)


def draw(rng: random.Random, *, held_out: bool, rows: tuple[int, int] = ROWS) -> Drawing:
    """`rows`: fewest and most."""
    table = on_side(lambda: _random_table(rng, rows), asked=held_out)
    image, marks = _render(table, rng)
    exchanges = [
        Exchange(family="table", question=short(rng.choice(_NUMBER_OF).format(letter), rng), answer=str(number))
        for letter, number in table.numbers.items()
    ]
    caption = f"The table says {listed([f'{letter} {number}' for letter, number in table.numbers.items()])}."
    return Drawing(kind="table", images=(image,), marks=(marks,), caption=caption, exchanges=shuffled(exchanges, rng))
