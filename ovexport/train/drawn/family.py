"""What every drawing hands over: pictures, marks, a caption and exchanges; and which contents are held out.

The split goes by meaning: a canonical line says what a drawing holds, and the hash of that line decides the side, so
held-out contents are never trained on in any size, colour jitter or wording. Knows no kind of drawing, no tokens and
no models. The lowest file of `ovexport.train.drawn`.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from PIL import Image

MOST_EXCHANGES = 10  # of one drawing: a question costs a tenth of the picture that it is about
_HELD_OUT_ONE_IN = 10


@dataclass(frozen=True, kw_only=True)
class Family:
    """A kind of question, in the paper's terms; `chance` is the accuracy of the best guess without the picture."""

    name: str
    vision_input: str  # "single-image", "multi-image", "video" or "text"
    instruction: str  # "General", "General OCR", "Doc/Chart/Screen", "Math/Reasoning" or "Language"
    response: str  # "fixed-form" or "free-form"
    chance: float


@dataclass(frozen=True, kw_only=True)
class Exchange:
    family: str
    question: str
    answer: str


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A thing that can be pointed at, in its image's own pixels: a shape, a bar or one character."""

    x0_px: float
    y0_px: float
    x1_px: float
    y1_px: float
    what: str
    colour: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Drawing:
    """`frames` are one video at a frame a second; `marks` has one entry per image or per frame."""

    kind: str
    images: tuple[Image.Image, ...] = ()
    frames: tuple[Image.Image, ...] = ()
    marks: tuple[tuple[Mark, ...], ...] = ()
    caption: str = ""
    exchanges: tuple[Exchange, ...]


class _HasMeaning(Protocol):
    @property
    def meaning(self) -> str: ...


_Content = TypeVar("_Content", bound=_HasMeaning)


def held_out(meaning: str) -> bool:
    """True for one meaning in ten."""
    digest = hashlib.sha256(meaning.encode()).digest()
    return int.from_bytes(digest[:8], "big") % _HELD_OUT_ONE_IN == 0


def on_side(make: Callable[[], _Content], *, asked: bool) -> _Content:
    """The first content that `make` gives on the asked side: True for held out."""
    while True:
        content = make()
        if held_out(content.meaning) == asked:
            return content


def shuffled(exchanges: Iterable[Exchange], rng: random.Random) -> tuple[Exchange, ...]:
    """At most `MOST_EXCHANGES` of them in random order, no question twice."""
    distinct = list({exchange.question: exchange for exchange in exchanges}.values())
    return tuple(rng.sample(distinct, min(len(distinct), MOST_EXCHANGES)))
