"""Held-out questions: the yardstick that training, precisions and the demo are measured with.

Sits on scenes.py and questions.py; knows nothing of models.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from PIL import Image

from ovexport.train.questions import FAMILIES, ask
from ovexport.train.scenes import draw, scenes


@dataclass(frozen=True, kw_only=True)
class HeldOutSample:
    image: Image.Image
    question: str
    answer: str
    family: str


def heldout_samples(count: int, seed: int = 0) -> Iterator[HeldOutSample]:
    """`count` samples, one scene each, the families in turn; the same ones for the same seed."""
    stream = scenes(f"held-out {seed}", held_out=True)
    for number in range(count):
        family = FAMILIES[number % len(FAMILIES)]
        qa = None
        while qa is None:
            index, scene = next(stream)
            qa = ask(scene, family, random.Random(f"held-out {seed} {index}"))
        yield HeldOutSample(image=draw(scene), question=qa.question, answer=qa.answer, family=family)


def is_right(answer: str, expected: str) -> bool:
    """Exact match after trimming white space."""
    return answer.strip() == expected
