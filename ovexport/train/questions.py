"""Questions about a scene and their right answers, in six families, in varied wording.

Every answer follows from the `Scene` alone and has one right spelling. A question is asked only where it has
exactly one answer. Knows nothing of pictures, tokens or models; sits on scenes.py.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ovexport.train.scenes import COLOURS, SHAPES, Scene, Thing

DEFAULT_PROMPT = "Describe this image."
_NUMBERS = ("zero", "one", "two", "three", "four", "five")
_IN_PLACE = {"centre": "in the centre", "left": "on the left", "right": "on the right"}

_DESCRIBE = (DEFAULT_PROMPT, "What is in this image?", "Describe the picture.", "What do you see?",
             "What is shown in this image?")  # fmt: skip
_SHAPE_OF = ("What shape is the {0} object?", "Which shape is {0}?", "What is the shape of the {0} object?",
             "Name the {0} shape.", "What is the {0} thing?")  # fmt: skip
_SHAPE_AT = ("What shape is {0}?", "Which shape do you see {0}?", "What is the shape of the object {0}?")
_COLOUR_OF = ("What colour is the {0}?", "What color is the {0}?", "Which colour does the {0} have?",
              "Name the colour of the {0}.", "What is the colour of the {0}?")  # fmt: skip
_COLOUR_AT = ("What colour is the object {0}?", "What color is the shape {0}?", "Which colour is {0}?")
_COUNT_OF = ("How many {0} are there?", "How many {0} do you see?", "Count the {0}.",
             "How many {0} are in the image?")  # fmt: skip
_WHERE = ("Where is the {0}?", "In which part of the image is the {0}?", "Where do you see the {0}?",
          "Where in the picture is the {0}?")  # fmt: skip
_IS_THERE = ("Is there {0}?", "Is there {0} in the image?", "Do you see {0}?", "Can you see {0} in the picture?")


@dataclass(frozen=True, kw_only=True)
class QA:
    family: str
    question: str
    answer: str


def in_place(place: str) -> str:
    return _IN_PLACE.get(place, f"at the {place}")


def plural(noun: str) -> str:
    return noun + ("es" if noun.endswith("s") else "s")


def describe(scene: Scene) -> str:
    """One sentence; groups of alike things in the order of the colour and shape tables, single ones with place."""
    groups: dict[tuple[str, str], list[Thing]] = {}
    for thing in scene.things:
        groups.setdefault((thing.colour, thing.shape), []).append(thing)
    order = sorted(groups, key=lambda kind: (list(COLOURS).index(kind[0]), SHAPES.index(kind[1])))
    parts = [_group_phrase(groups[kind]) for kind in order]
    text = parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]
    return text[0].upper() + text[1:] + "."


def _group_phrase(things: list[Thing]) -> str:
    first = things[0]
    if len(things) == 1:
        return f"{_with_article(f'{first.colour} {first.shape}')} {in_place(first.place)}"
    return f"{_NUMBERS[len(things)]} {first.colour} {plural(first.shape)}"


def _with_article(noun: str) -> str:
    return ("an " if noun[0] in "aeiou" else "a ") + noun


def _ask_describe(scene: Scene, rng: random.Random) -> tuple[str, str]:
    wording = DEFAULT_PROMPT if rng.random() < 0.6 else rng.choice(_DESCRIBE)
    return wording, describe(scene)


def _ask_shape(scene: Scene, rng: random.Random) -> tuple[str, str] | None:
    thing = rng.choice(scene.things)
    if rng.random() < 0.3:
        return rng.choice(_SHAPE_AT).format(in_place(thing.place)), thing.shape
    if sum(t.colour == thing.colour for t in scene.things) > 1:
        return None
    return rng.choice(_SHAPE_OF).format(thing.colour), thing.shape


def _ask_colour(scene: Scene, rng: random.Random) -> tuple[str, str] | None:
    thing = rng.choice(scene.things)
    if rng.random() < 0.3:
        return rng.choice(_COLOUR_AT).format(in_place(thing.place)), thing.colour
    if sum(t.shape == thing.shape for t in scene.things) > 1:
        return None
    return rng.choice(_COLOUR_OF).format(thing.shape), thing.colour


def _ask_count(scene: Scene, rng: random.Random) -> tuple[str, str]:
    kind = rng.random()
    likely = rng.choice(scene.things)  # mostly of what is there, or the answer would mostly be zero
    there = rng.random() < 0.8
    if kind < 0.4:
        return rng.choice(_COUNT_OF).format(rng.choice(("objects", "shapes", "things"))), _NUMBERS[len(scene.things)]
    if kind < 0.7:
        shape = likely.shape if there else rng.choice(SHAPES)
        count = sum(t.shape == shape for t in scene.things)
        return rng.choice(_COUNT_OF).format(plural(shape)), _NUMBERS[count]
    colour = likely.colour if there else rng.choice(list(COLOURS))
    count = sum(t.colour == colour for t in scene.things)
    return rng.choice(_COUNT_OF).format(f"{colour} {rng.choice(('objects', 'shapes', 'things'))}"), _NUMBERS[count]


def _ask_where(scene: Scene, rng: random.Random) -> tuple[str, str] | None:
    thing = rng.choice(scene.things)
    if rng.random() < 0.3 and sum(t.shape == thing.shape for t in scene.things) == 1:
        return rng.choice(_WHERE).format(thing.shape), thing.place
    if sum((t.colour, t.shape) == (thing.colour, thing.shape) for t in scene.things) > 1:
        return None
    return rng.choice(_WHERE).format(f"{thing.colour} {thing.shape}"), thing.place


def _ask_yes_no(scene: Scene, rng: random.Random) -> tuple[str, str]:
    thing = rng.choice(scene.things)
    colour, shape = thing.colour, thing.shape
    if rng.random() < 0.55:  # a near miss: one of the two properties is usually kept
        colour = rng.choice(list(COLOURS)) if rng.random() < 0.6 else colour
        shape = rng.choice(SHAPES) if rng.random() < 0.6 else shape
    what = rng.random()
    if what < 0.2:
        noun, yes = shape, any(t.shape == shape for t in scene.things)
    elif what < 0.4:
        noun, yes = f"{colour} object", any(t.colour == colour for t in scene.things)
    else:
        noun, yes = f"{colour} {shape}", any((t.colour, t.shape) == (colour, shape) for t in scene.things)
    return rng.choice(_IS_THERE).format(_with_article(noun)), "yes" if yes else "no"


_ASKERS: dict[str, Callable[[Scene, random.Random], tuple[str, str] | None]] = {
    "describe": _ask_describe,
    "shape": _ask_shape,
    "colour": _ask_colour,
    "count": _ask_count,
    "where": _ask_where,
    "yes/no": _ask_yes_no,
}
FAMILIES = tuple(_ASKERS)


def ask(scene: Scene, family: str, rng: random.Random) -> QA | None:
    """A question of `family`, or None where what was drawn has no single answer in this scene."""
    pair = _ASKERS[family](scene, rng)
    if pair is None:
        return None
    question, answer = pair
    return QA(family=family, question=question, answer=answer[0].upper() + answer[1:])


def conversation(scene: Scene, rng: random.Random, turns: int, families: Sequence[str] = FAMILIES[1:]) -> list[QA]:
    """Up to `turns` different questions about one scene; half of the time it is described first, else last.

    All but the description are drawn from `families`, which may name one several times.
    """
    asked: dict[str, QA] = {}
    for _ in range(3 * turns):
        if len(asked) == turns - 1:
            break
        qa = ask(scene, rng.choice(families), rng)
        if qa is not None:
            asked.setdefault(qa.question, qa)
    description = ask(scene, "describe", rng)
    assert description is not None
    rest = list(asked.values())
    return [description, *rest] if rng.random() < 0.5 else [*rest, description]
