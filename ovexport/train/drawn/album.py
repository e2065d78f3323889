"""Three or four images of one or two shapes each: which one shows it, how many do, what colour is it in the second.

Sits on pictures.py.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace

from ovexport.train.drawn.family import Drawing, Exchange, Family, on_side, shuffled
from ovexport.train.drawn.pictures import ORDINALS, Figure, arranged, empty_scene, listing, sentence
from ovexport.train.drawn.scene import COLOURS, SHAPES, Scene, marks, render
from ovexport.train.drawn.wording import NUMBERS, capitalised, with_article

# Three or four images with equal chance: the first one is right in (1/3 + 1/4) / 2 of the cases, and so is "One".
_ONE_OF_THREE_OR_FOUR = 7 / 24
FAMILIES = tuple(
    Family(name=name, vision_input="multi-image", instruction="General", response="fixed-form", chance=chance)
    for name, chance in (
        ("which-image", _ONE_OF_THREE_OR_FOUR),
        ("how-many-images", _ONE_OF_THREE_OR_FOUR),
        ("image-colour", 1 / len(COLOURS)),
    )
)
_SINGLES_SHARE = 0.6  # albums of one shape per image, where the colour of "the shape" can be asked


@dataclass(frozen=True, kw_only=True)
class _Album:
    pages: tuple[tuple[Figure, ...], ...]
    counted: str  # the shape that a question counts images of

    @property
    def meaning(self) -> str:
        return "album: " + " | ".join(", ".join(sorted(map(str, page))) for page in self.pages)


def _random_album(rng: random.Random) -> _Album:
    """The counted shape is in 1..n of the n images, each time in another colour, so that it can't be told by one."""
    count = rng.choice((3, 4))
    counted, *others = rng.sample(SHAPES, len(SHAPES))
    colours = rng.sample(list(COLOURS), count)
    showing = rng.sample(range(count), rng.randint(1, count))
    pages = [
        [Figure(colour=colours[number], shape=counted if number in showing else rng.choice(others))]
        for number in range(count)
    ]
    if rng.random() >= _SINGLES_SHARE:
        for number in rng.sample(range(count), rng.randint(1, count)):
            colour = rng.choice([c for c in (colours if rng.random() < 0.5 else COLOURS) if c != colours[number]])
            shape = rng.choice([s for s in others if s != pages[number][0].shape])
            pages[number].insert(rng.randint(0, 1), Figure(colour=colour, shape=shape))
    return _Album(pages=tuple(map(tuple, pages)), counted=counted)


def _ask_which(rng: random.Random, album: _Album) -> Exchange | None:
    """For something that one image alone shows; None where the image picked has no such thing."""
    number = rng.randrange(len(album.pages))
    elsewhere = {figure for other, page in enumerate(album.pages) if other != number for figure in page}
    alone = [figure for figure in album.pages[number] if figure not in elsewhere]
    if not alone:
        return None
    question = f"Which image shows {rng.choice(alone).phrase}?"
    return Exchange(family="which-image", question=question, answer=f"The {ORDINALS[number]}")


def _ask_how_many(rng: random.Random, album: _Album) -> Exchange:
    count = sum(any(figure.shape == album.counted for figure in page) for page in album.pages)
    question = f"How many images show {with_article(album.counted)}?"
    return Exchange(family="how-many-images", question=question, answer=capitalised(NUMBERS[count]))


def _ask_colour(rng: random.Random, album: _Album) -> Exchange | None:
    """None where an image has two shapes."""
    if any(len(page) > 1 for page in album.pages):
        return None
    number = rng.randrange(len(album.pages))
    question = f"What colour is the shape in the {ORDINALS[number]} image?"
    return Exchange(family="image-colour", question=question, answer=album.pages[number][0].colour.capitalize())


_ASKERS: tuple[Callable[[random.Random, _Album], Exchange | None], ...] = (_ask_which, _ask_how_many, _ask_colour)


def _scene(rng: random.Random, page: tuple[Figure, ...]) -> Scene:
    scene = empty_scene(rng)
    return replace(scene, things=tuple(arranged(rng, scene, page)))


def draw(rng: random.Random, *, held_out: bool) -> Drawing:
    album = on_side(lambda: _random_album(rng), asked=held_out)
    scenes = [_scene(rng, page) for page in album.pages]
    asked = [exchange for ask in (*_ASKERS, *_ASKERS) if (exchange := ask(rng, album)) is not None]
    captions = [f"the {ORDINALS[number]} image shows {listing(page)}" for number, page in enumerate(album.pages)]
    return Drawing(
        kind="album",
        images=tuple(map(render, scenes)),
        marks=tuple(map(marks, scenes)),
        caption=" ".join(map(sentence, captions)),
        exchanges=shuffled(asked, rng),
    )
