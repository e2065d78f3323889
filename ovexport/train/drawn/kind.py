"""What a kind of drawing is: the families of questions that it asks and the function that draws one."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Protocol

from ovexport.train.drawn.family import Drawing, Family


class Draw(Protocol):
    """Draws one; contents are drawn again until their meaning lies on the asked side of the split."""

    def __call__(self, rng: random.Random, *, held_out: bool) -> Drawing: ...


@dataclass(frozen=True, kw_only=True)
class Kind:
    families: tuple[Family, ...]
    draw: Draw
