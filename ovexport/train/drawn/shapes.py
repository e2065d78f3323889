"""Questions about one picture of coloured shapes and their right answers, in eight families, in varied wording.

Every answer follows from the `Scene` alone and has one right spelling. A question is asked only where it has
exactly one answer. Knows nothing of pixels, tokens or models; sits on scene.py and wording.py.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence

from ovexport.train.drawn.family import MOST_EXCHANGES, Drawing, Exchange, Family, on_side, shuffled
from ovexport.train.drawn.scene import (
    COLOURS,
    PLACES,
    SHAPES,
    THINGS,
    Scene,
    Thing,
    marks,
    random_scene,
    random_size,
    render,
)
from ovexport.train.drawn.wording import (
    DEFAULT_PROMPT,
    NUMBERS,
    YES_OR_NO,
    capitalised,
    in_place,
    listed,
    plural,
    short,
    with_article,
    with_options,
    with_prompt,
)  # fmt: skip

_Asked = tuple[str, str] | None  # question and answer, or None where what was picked has no single answer

_DEFAULT_SHARE = 0.6
_DESCRIBE = ("What is in this image?", "Describe the picture.", "What do you see?", "What is shown in this image?")
_SHAPE_OF = ("What shape is the {0} object?", "Which shape is {0}?", "What is the shape of the {0} object?",
             "Name the {0} shape.", "What is the {0} thing?")  # fmt: skip
_SHAPE_AT = ("What shape is {0}?", "Which shape do you see {0}?", "What is the shape of the object {0}?")
_COLOUR_OF = ("What colour is the {0}?", "Which colour does the {0} have?", "Name the colour of the {0}.",
              "What is the colour of the {0}?")  # fmt: skip
_COLOUR_AT = ("What colour is the object {0}?", "What colour is the shape {0}?", "Which colour is {0}?")
_COUNT_OF = ("How many {0} are there?", "How many {0} do you see?", "Count the {0}.",
             "How many {0} are in the image?")  # fmt: skip
_WHERE = ("Where is the {0}?", "In which part of the image is the {0}?", "Where do you see the {0}?",
          "Where in the picture is the {0}?")  # fmt: skip
_IS_THERE = ("Is there {0}?", "Is there {0} in the image?", "Do you see {0}?", "Can you see {0} in the picture?")
_THINGS = ("objects", "shapes", "things")
_SIDES = (("left of", "right of"), ("above", "below"))  # by axis: the first has the smaller coordinate


def caption(scene: Scene) -> str:
    """One sentence; groups of alike things in the order of the colour and shape tables, single ones with place."""
    groups: dict[tuple[str, str], list[Thing]] = {}
    for thing in scene.things:
        groups.setdefault((thing.colour, thing.shape), []).append(thing)
    order = sorted(groups, key=lambda kind: (list(COLOURS).index(kind[0]), SHAPES.index(kind[1])))
    return capitalised(listed([_group_phrase(groups[kind]) for kind in order])) + "."


def _group_phrase(things: list[Thing]) -> str:
    noun = f"{things[0].colour} {things[0].shape}"
    if len(things) > 1:
        return f"{NUMBERS[len(things)]} {plural(noun)}"
    return f"{with_article(noun)} {in_place(things[0].place)}"


def _single(scene: Scene, what: Callable[[Thing], str], rng: random.Random) -> Thing | None:
    """A thing that no other one is mistaken for under what it is called."""
    counts = Counter(map(what, scene.things))
    return rng.choice([t for t in scene.things if counts[what(t)] == 1] or [None])


def _shape_name(thing: Thing) -> str:
    return thing.shape


def _colour_name(thing: Thing) -> str:
    return thing.colour


def _full_name(thing: Thing) -> str:
    return f"{thing.colour} {thing.shape}"


def _ask_shape(scene: Scene, rng: random.Random) -> _Asked:
    thing = _single(scene, _colour_name, rng)
    if thing is None or rng.random() < 0.3:
        thing = rng.choice(scene.things)
        return rng.choice(_SHAPE_AT).format(in_place(thing.place)), thing.shape
    return rng.choice(_SHAPE_OF).format(thing.colour), thing.shape


def _ask_colour(scene: Scene, rng: random.Random) -> _Asked:
    thing = _single(scene, _shape_name, rng)
    if thing is None or rng.random() < 0.3:
        thing = rng.choice(scene.things)
        return rng.choice(_COLOUR_AT).format(in_place(thing.place)), thing.colour
    return rng.choice(_COLOUR_OF).format(thing.shape), thing.colour


def _ask_count(scene: Scene, rng: random.Random) -> _Asked:
    shown = rng.choice(scene.things)  # mostly of what is there, or the answer would mostly be zero
    colour, shape = (
        (shown.colour, shown.shape) if rng.random() < 0.8 else (rng.choice(list(COLOURS)), rng.choice(SHAPES))
    )
    things = rng.choice(_THINGS)
    noun, count = rng.choice((
        (things, len(scene.things)),
        (plural(shape), sum(t.shape == shape for t in scene.things)),
        (f"{colour} {things}", sum(t.colour == colour for t in scene.things)),
    ))  # fmt: skip
    return rng.choice(_COUNT_OF).format(noun), NUMBERS[count]


def _ask_where(scene: Scene, rng: random.Random) -> _Asked:
    called = _shape_name if rng.random() < 0.3 else _full_name
    thing = _single(scene, called, rng)
    return None if thing is None else (rng.choice(_WHERE).format(called(thing)), thing.place)


def _ask_yes_no(scene: Scene, rng: random.Random) -> _Asked:
    """Half of the answers are yes; a no is mostly a near miss, one of whose two properties is there."""
    yes = rng.random() < 0.5
    called, ending = rng.choice(((_shape_name, ""), (_colour_name, " object"), (_full_name, ""), (_full_name, "")))
    there = {called(t) for t in scene.things}
    names = there if yes else set(_absent(scene, called, rng)) - there
    noun = rng.choice(sorted(names))
    return rng.choice(_IS_THERE).format(with_article(noun + ending)), "yes" if yes else "no"


def _absent(scene: Scene, called: Callable[[Thing], str], rng: random.Random) -> Sequence[str]:
    """Names to pick an absent one from."""
    if called is _full_name:
        thing = rng.choice(scene.things)
        same_shape = [f"{colour} {thing.shape}" for colour in COLOURS]
        return same_shape if rng.random() < 0.5 else [f"{thing.colour} {shape}" for shape in SHAPES]
    return SHAPES if called is _shape_name else tuple(COLOURS)


def _ask_relation(scene: Scene, rng: random.Random) -> _Asked:
    """Only of two things that have their names for themselves, along an axis of the raster in which they differ."""
    names = Counter(map(_full_name, scene.things))
    singles = [t for t in scene.things if names[_full_name(t)] == 1]
    if len(singles) < 2:
        return None
    one, other = rng.sample(singles, 2)
    axis = rng.choice([axis for axis in (0, 1) if _cell(one)[axis] != _cell(other)[axis]])
    first, second = (_cell(thing)[axis] for thing in (one, other))
    side = rng.randrange(2)
    yes = (first < second) == (side == 0)
    return f"Is the {_full_name(one)} {_SIDES[axis][side]} the {_full_name(other)}?", "yes" if yes else "no"


def _cell(thing: Thing) -> tuple[int, int]:
    """(column, row) of the raster."""
    row, column = divmod(PLACES.index(thing.place), 3)
    return column, row


_ASKERS: dict[str, Callable[[Scene, random.Random], _Asked]] = {
    "shape": _ask_shape,
    "colour": _ask_colour,
    "count": _ask_count,
    "where": _ask_where,
    "yes/no": _ask_yes_no,
    "relation": _ask_relation,
}
_ANSWERS = {"shape": SHAPES, "colour": tuple(COLOURS), "count": NUMBERS, "where": PLACES}


def _ask_choice(scene: Scene, rng: random.Random) -> _Asked:
    table = rng.choice(list(_ANSWERS))
    asked = _ASKERS[table](scene, rng)
    return None if asked is None else with_options(*asked, _ANSWERS[table], rng)


_ASKERS["choice"] = _ask_choice


def _prompted(family: str, question: str, rng: random.Random) -> str:
    if family in _ANSWERS:
        return short(question, rng)
    return with_prompt(question, YES_OR_NO, 0.5, rng) if family in ("yes/no", "relation") else question


def ask(scene: Scene, family: str, rng: random.Random) -> Exchange | None:
    """A question of `family`, or None where what was picked has no single answer in this scene."""
    asked = _ASKERS[family](scene, rng)
    if asked is None:
        return None
    question, answer = asked
    return Exchange(family=family, question=_prompted(family, question, rng), answer=capitalised(answer))


def describe(scene: Scene, rng: random.Random) -> Exchange:
    question = DEFAULT_PROMPT if rng.random() < _DEFAULT_SHARE else rng.choice(_DESCRIBE)
    return Exchange(family="describe", question=question, answer=caption(scene))


def _family(name: str, chance: float, response: str = "fixed-form") -> Family:
    return Family(name=name, vision_input="single-image", instruction="General", response=response, chance=chance)


COLOUR = _family("colour", 1 / len(COLOURS))
FAMILIES = (
    _family("describe", 0.0, "free-form"),
    _family("shape", 1 / len(SHAPES)),
    COLOUR,
    _family("count", 0.4),
    _family("where", 1 / len(PLACES)),
    _family("yes/no", 0.5),
    _family("choice", 0.3),
    _family("relation", 0.5),
)


def draw(rng: random.Random, *, held_out: bool, things: tuple[int, int] = THINGS, alike: bool = True) -> Drawing:
    """One scene as of `random_scene`, its description and up to nine other questions, at most two of a family."""
    height_px, width_px = random_size(rng)
    scene = on_side(lambda: random_scene(rng, height_px, width_px, things, alike=alike), asked=held_out)
    families = [*rng.sample(list(_ASKERS), len(_ASKERS)), *rng.sample(list(_ASKERS), len(_ASKERS))]
    asked = [exchange for family in families if (exchange := ask(scene, family, rng)) is not None]
    asked = list({exchange.question: exchange for exchange in asked}.values())[: MOST_EXCHANGES - 1]
    return Drawing(
        kind="shapes",
        images=(render(scene),),
        marks=(marks(scene),),
        caption=caption(scene),
        exchanges=shuffled([describe(scene, rng), *asked], rng),
    )
