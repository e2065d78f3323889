"""What takes long to learn by the way, asked often: which letter stands before an option, what lies on which side.

Trained on and never asked of the model afterwards: the families are those of shapes.py, whose questions these are.
"""

from __future__ import annotations

import random

from ovexport.train.drawn.family import MOST_EXCHANGES, Drawing, Exchange, Family, on_side, shuffled
from ovexport.train.drawn.scene import COLOURS, PLACES, SHAPES, marks, random_scene, random_size, render
from ovexport.train.drawn.shapes import ask, caption
from ovexport.train.drawn.wording import NUMBERS, with_options

LETTERS = (Family(name="choice", vision_input="text", instruction="Language", response="fixed-form", chance=0.25),)
_WHICH = ("Which option is {0}?", "Which of these is {0}?", "Find {0}.")
SIDES = ("left of", "right of", "above", "below")
_TABLES = (SHAPES, tuple(COLOURS), NUMBERS, PLACES)


def draw_letters(rng: random.Random, *, held_out: bool) -> Drawing:
    """Nothing to see: the letter of an option that the question names."""
    return Drawing(kind="letters", exchanges=shuffled([_ask_letter(rng) for _ in range(MOST_EXCHANGES)], rng))


def _ask_letter(rng: random.Random) -> Exchange:
    table = rng.choice(_TABLES)
    word = rng.choice(table)
    question, letter = with_options(rng.choice(_WHICH).format(word), word, table, rng)
    return Exchange(family="choice", question=question, answer=letter)


def draw_sides(rng: random.Random, *, held_out: bool, sides: tuple[str, ...] = SIDES) -> Drawing:
    """Two or three things, no colour and no shape twice, and relations between them.

    With all four `sides` the answer turns with three things at once (which is asked for first, the side, the picture),
    each of which alone says nothing; so two of them come first.
    """
    height_px, width_px = random_size(rng)
    scene = on_side(lambda: random_scene(rng, height_px, width_px, (2, 3), alike=False), asked=held_out)
    asked = [exchange for _ in range(3 * MOST_EXCHANGES) if (exchange := ask(scene, "relation", rng))]
    exchanges = [exchange for exchange in asked if any(f" {side} " in exchange.question for side in sides)]
    return Drawing(
        kind="sides",
        images=(render(scene),),
        marks=(marks(scene),),
        caption=caption(scene),
        exchanges=shuffled(exchanges, rng),
    )
