"""One coloured board with one code on it, large enough for a single tile: the first reading.

Split by the code (codes.py). Knows nothing of tokens or models; sits on glyphs.py.
"""

from __future__ import annotations

import random

from PIL import Image, ImageDraw

from ovexport.train.drawn.codes import random_code
from ovexport.train.drawn.family import Drawing, Exchange, Family, shuffled
from ovexport.train.drawn.glyphs import fitting, width_px, write
from ovexport.train.drawn.scene import BACKGROUNDS, COLOURS, ONE_TILE_PX, jittered
from ovexport.train.drawn.shapes import COLOUR
from ovexport.train.drawn.wording import capitalised, short, with_article

FAMILIES = (
    Family(name="sign", vision_input="single-image", instruction="General OCR", response="fixed-form", chance=0.0),
    COLOUR,
)
_READ = ("What does the sign say?", "What is written on the sign?", "Which code is on the sign?", "Read the sign.")
_COLOUR_OF = ("What colour is the sign?", "Which colour does the sign have?", "What is the colour of the sign?")
_LIGHT_BOARDS = ("orange", "yellow", "pink")  # black ink on these, white on the others
_BLACK, _WHITE = (16, 16, 16), (255, 255, 255)
_CAPITAL_PX = (16.0, 24.0)
_PAD_PX = 6


def draw(rng: random.Random, *, held_out: bool) -> Drawing:
    code = random_code(rng, held_out=held_out)
    colour = rng.choice(list(COLOURS))
    size = rng.randint(*ONE_TILE_PX), rng.randint(*ONE_TILE_PX)
    image = Image.new("RGB", size, rng.choice(list(BACKGROUNDS.values())))
    capital_px = fitting(code, rng.uniform(*_CAPITAL_PX), size[0] - 2 * _PAD_PX - 4)
    board = round(width_px(code, capital_px)) + 2 * _PAD_PX, round(capital_px) + 2 * _PAD_PX
    left, top = (rng.randint(1, whole - part - 1) for whole, part in zip(size, board, strict=True))
    ImageDraw.Draw(image).rectangle((left, top, left + board[0] - 1, top + board[1] - 1), fill=jittered(colour, rng))
    marks = write(
        image, code, x_px=left + _PAD_PX, y_px=top + _PAD_PX, capital_px=capital_px,
        rgb=_BLACK if colour in _LIGHT_BOARDS else _WHITE, colour=colour,
    )  # fmt: skip
    exchanges = [Exchange(family="sign", question=short(rng.choice(_READ), rng), answer=code)]
    if rng.random() < 0.5:
        question = short(rng.choice(_COLOUR_OF), rng)
        exchanges.append(Exchange(family="colour", question=question, answer=capitalised(colour)))
    caption = f"{capitalised(with_article(colour))} sign that says {code}."
    return Drawing(kind="sign", images=(image,), marks=(marks,), caption=caption, exchanges=shuffled(exchanges, rng))
