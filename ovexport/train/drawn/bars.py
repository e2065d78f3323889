"""Bar charts: three or four bars of different colours, each with its value above it.

Values differ, so there is one highest and one lowest bar. Knows nothing of tokens or models; sits on glyphs.py.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from PIL import Image, ImageDraw

from ovexport.train.drawn.family import Drawing, Exchange, Family, Mark, on_side, shuffled
from ovexport.train.drawn.glyphs import write_centred
from ovexport.train.drawn.scene import BACKGROUNDS, COLOURS, ONE_TILE_PX, TWO_TILES_PX, jittered
from ovexport.train.drawn.wording import capitalised, listed, short

FAMILIES = tuple(
    Family(name=name, vision_input="single-image", instruction="Doc/Chart/Screen", response="fixed-form", chance=chance)
    for name, chance in (("bar-value", 1 / 9), ("bar-most", 1 / len(COLOURS)))
)
_VALUE_OF = ("What is the value of the {0} bar?", "Which number is above the {0} bar?", "How high is the {0} bar?")
_MOST = {
    max: ("Which bar is the highest?", "What colour is the highest bar?", "Which bar has the largest value?"),
    min: ("Which bar is the lowest?", "What colour is the lowest bar?", "Which bar has the smallest value?"),
}
_SIZES = ((ONE_TILE_PX, ONE_TILE_PX),) * 4 + ((ONE_TILE_PX, TWO_TILES_PX), (TWO_TILES_PX, ONE_TILE_PX))
BARS = (3, 4)
_MAX_VALUE = 9
_MARGIN_PX = 5
_GAP_PX = 3  # between a bar and its value
_CAPITAL_PX = (10.5, 12.5)
_INK = (20, 20, 24)


@dataclass(frozen=True)
class _Chart:
    values: dict[str, int]  # by colour, from left to right

    @property
    def meaning(self) -> str:
        return "bars " + "; ".join(f"{colour} {value}" for colour, value in self.values.items())


def _random_chart(rng: random.Random, bars: tuple[int, int]) -> _Chart:
    count = rng.randint(*bars)
    values = rng.sample(range(1, _MAX_VALUE + 1), count)
    return _Chart(dict(zip(rng.sample(list(COLOURS), count), values, strict=True)))


def _render(chart: _Chart, rng: random.Random) -> tuple[Image.Image, tuple[Mark, ...]]:
    heights_px, widths_px = rng.choice(_SIZES)
    height, width = rng.randint(*heights_px), rng.randint(*widths_px)
    image = Image.new("RGB", (width, height), rng.choice(list(BACKGROUNDS.values())))
    pen, marks = ImageDraw.Draw(image), []
    capital_px, thick = rng.uniform(*_CAPITAL_PX), rng.uniform(0.55, 0.8)
    slot, floor = (width - 2 * _MARGIN_PX) / len(chart.values), height - _MARGIN_PX
    unit = (floor - _MARGIN_PX - capital_px - _GAP_PX) / _MAX_VALUE
    for column, (colour, value) in enumerate(chart.values.items()):
        centre = _MARGIN_PX + (column + 0.5) * slot
        left, right = round(centre - thick * slot / 2), round(centre + thick * slot / 2)
        top = round(floor - value * unit)
        pen.rectangle((left, top, right - 1, floor - 1), fill=jittered(colour, rng))
        marks.append(Mark(x0_px=left, y0_px=top, x1_px=right, y1_px=floor, what="bar", colour=colour))
        middle = top - _GAP_PX - capital_px / 2
        marks += write_centred(
            image, str(value), x_px=centre, y_px=middle, capital_px=capital_px, rgb=_INK, colour="black"
        )  # fmt: skip
    pen.line((_MARGIN_PX - 2, floor, width - _MARGIN_PX + 1, floor), fill=_INK)
    return image, tuple(marks)


def draw(rng: random.Random, *, held_out: bool, bars: tuple[int, int] = BARS) -> Drawing:
    """`bars`: fewest and most."""
    chart = on_side(lambda: _random_chart(rng, bars), asked=held_out)
    image, marks = _render(chart, rng)
    asked = [("bar-value", rng.choice(_VALUE_OF).format(colour), str(value)) for colour, value in chart.values.items()]
    asked += [
        ("bar-most", rng.choice(wordings), capitalised(most(chart.values, key=chart.values.__getitem__)))
        for most, wordings in _MOST.items()
    ]
    exchanges = [
        Exchange(family=name, question=short(question, rng), answer=answer) for name, question, answer in asked
    ]
    caption = f"The bars show {listed([f'{colour} {value}' for colour, value in chart.values.items()])}."
    return Drawing(kind="bars", images=(image,), marks=(marks,), caption=caption, exchanges=shuffled(exchanges, rng))
