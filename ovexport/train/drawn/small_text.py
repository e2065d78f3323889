"""Two to four codes in small print at places of a picture of several tiles: only AnyRes tiles show them sharply.

The base view shrinks the whole picture to one tile, where these glyphs are 4 to 6 px high. Split by the codes
(codes.py). Knows nothing of tokens or models; sits on glyphs.py.
"""

from __future__ import annotations

import random

from PIL import Image

from ovexport.train.drawn.codes import random_codes
from ovexport.train.drawn.family import Drawing, Exchange, Family, Mark, shuffled
from ovexport.train.drawn.glyphs import width_px, write
from ovexport.train.drawn.scene import BACKGROUNDS, PLACES
from ovexport.train.drawn.wording import in_place, listed, short

FAMILIES = (
    Family(
        name="small-text", vision_input="single-image", instruction="General OCR", response="fixed-form", chance=0.0
    ),
)  # fmt: skip
_READ = ("What is written {0}?", "What does it say {0}?", "Which code is {0}?", "Read the text {0}.")
LINES = (2, 4)
_GRIDS = ((2, 2), (2, 3), (3, 2), (3, 3))  # (rows, columns) of tiles
_TILE_PX = 104
_SCALE = (1.0, 1.22)  # what AnyRes enlarges the picture by
_INK = (20, 20, 24)


def draw(rng: random.Random, *, held_out: bool, lines: tuple[int, int] = LINES) -> Drawing:
    """`lines`: fewest and most codes."""
    rows, columns = rng.choice(_GRIDS)
    scale = rng.uniform(*_SCALE)
    height, width = (int(count * _TILE_PX / scale) for count in (rows, columns))
    # In tile pixels, and never above 6.25 px in the base view.
    capital_px = rng.uniform(11, 9.5 + 1.5 * min(rows, columns)) / scale
    codes = random_codes(rng, rng.randint(*lines), held_out=held_out)
    cells = sorted(rng.sample(range(9), len(codes)))
    image = Image.new("RGB", (width, height), rng.choice(list(BACKGROUNDS.values())))
    marks = [
        mark for cell, code in zip(cells, codes, strict=True) for mark in _write(image, code, cell, capital_px, rng)
    ]
    places = [in_place(PLACES[cell]) for cell in cells]
    exchanges = [
        Exchange(family="small-text", question=short(rng.choice(_READ).format(place), rng), answer=code)
        for place, code in zip(places, codes, strict=True)
    ]
    caption = f"It says {listed([f'{code} {place}' for code, place in zip(codes, places, strict=True)])}."
    return Drawing(
        kind="small_text", images=(image,), marks=(tuple(marks),), caption=caption, exchanges=shuffled(exchanges, rng)
    )


def _write(image: Image.Image, code: str, cell: int, capital_px: float, rng: random.Random) -> tuple[Mark, ...]:
    row, column = divmod(cell, 3)
    cell_w, cell_h = image.width / 3, image.height / 3
    slack_x = min(0.2 * cell_w, 0.46 * cell_w - width_px(code, capital_px) / 2)
    x_px = (column + 0.5) * cell_w + rng.uniform(-slack_x, slack_x) - width_px(code, capital_px) / 2
    y_px = (row + 0.5) * cell_h + rng.uniform(-0.2, 0.2) * cell_h - capital_px / 2
    return write(image, code, x_px=x_px, y_px=y_px, capital_px=capital_px, rgb=_INK, colour="black")
