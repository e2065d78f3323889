"""Codes that signs and small text show: consonant, vowel, consonant, or a number of two or three digits.

The split goes by the code itself: a held-out code is never trained on, neither on a sign nor in small text nor in a
sentence, so who says it has read it. Sits on family.py.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from ovexport.train.drawn.family import on_side

CONSONANTS = "BCDFGHJKLMNPRSTVZ"
VOWELS = "AEIOU"
_NUMBER_SHARE = 0.3


@dataclass(frozen=True)
class _Code:
    text: str

    @property
    def meaning(self) -> str:
        return f"code {self.text}"


def _any_code(rng: random.Random) -> _Code:
    if rng.random() < _NUMBER_SHARE:
        return _Code(str(rng.randint(*rng.choice(((10, 99), (100, 999))))))
    return _Code(rng.choice(CONSONANTS) + rng.choice(VOWELS) + rng.choice(CONSONANTS))


def random_code(rng: random.Random, *, held_out: bool) -> str:
    return on_side(lambda: _any_code(rng), asked=held_out).text


def random_codes(rng: random.Random, count: int, *, held_out: bool) -> list[str]:
    """`count` different ones."""
    codes: dict[str, None] = {}
    while len(codes) < count:
        codes[random_code(rng, held_out=held_out)] = None
    return list(codes)
