"""A sum that is drawn, not typed: two digits, plus or minus, in one tile.

Every sum is trained on; what is held out are combinations of sum, ink, background and place. Knows nothing of tokens
or models; sits on glyphs.py.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from PIL import Image

from ovexport.train.drawn.family import Drawing, Exchange, Family, on_side
from ovexport.train.drawn.glyphs import fitting, width_px, write
from ovexport.train.drawn.scene import BACKGROUNDS, ONE_TILE_PX, jittered
from ovexport.train.drawn.wording import short

FAMILIES = (
    Family(
        name="sum-picture", vision_input="single-image", instruction="Math/Reasoning", response="fixed-form", chance=0.1
    ),
)  # fmt: skip
_RESULT = ("What is the result?", "What is the result of this sum?", "Solve the sum in the image.",
           "Which number comes next?", "Calculate what is shown.")  # fmt: skip
_INKS = ("red", "green", "blue", "purple", "black")  # dark enough on every background
_ROWS = ("top", "centre", "bottom")
_CAPITAL_PX = (16.0, 22.0)
_MARGIN_PX = 3


@dataclass(frozen=True, kw_only=True)
class _Sum:
    text: str
    result: int
    ink: str
    background: str
    row: str

    @property
    def meaning(self) -> str:
        return f"sum {self.text} {self.ink} on {self.background} at {self.row}"


def random_terms(rng: random.Random) -> tuple[int, str, int, int]:
    """Two digits, the sign between them and the result, which is never negative."""
    one, other = rng.randint(0, 9), rng.randint(0, 9)
    if rng.random() < 0.5:
        return one, "+", other, one + other
    return max(one, other), "-", min(one, other), abs(one - other)


def _random_sum(rng: random.Random) -> _Sum:
    one, sign, other, result = random_terms(rng)
    return _Sum(
        text=f"{one}{sign}{other}=",
        result=result,
        ink=rng.choice(_INKS),
        background=rng.choice(list(BACKGROUNDS)),
        row=rng.choice(_ROWS),
    )


def draw(rng: random.Random, *, held_out: bool) -> Drawing:
    drawn = on_side(lambda: _random_sum(rng), asked=held_out)
    width, height = rng.randint(*ONE_TILE_PX), rng.randint(*ONE_TILE_PX)
    image = Image.new("RGB", (width, height), BACKGROUNDS[drawn.background])
    capital_px = fitting(drawn.text, rng.uniform(*_CAPITAL_PX), width - 2 * _MARGIN_PX)
    x_px = rng.uniform(_MARGIN_PX, width - _MARGIN_PX - width_px(drawn.text, capital_px))
    y_px = (_ROWS.index(drawn.row) + 0.5 + rng.uniform(-0.12, 0.12)) * height / 3 - capital_px / 2
    y_px = min(max(y_px, _MARGIN_PX), height - _MARGIN_PX - capital_px)
    marks = write(
        image, drawn.text, x_px=x_px, y_px=y_px, capital_px=capital_px, rgb=jittered(drawn.ink, rng), colour=drawn.ink
    )
    exchange = Exchange(family="sum-picture", question=short(rng.choice(_RESULT), rng), answer=str(drawn.result))
    caption = f"The sum {drawn.text[:-1]} in {drawn.ink}."
    return Drawing(kind="sum_picture", images=(image,), marks=(marks,), caption=caption, exchanges=(exchange,))
