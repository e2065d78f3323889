"""A video in which one to four shapes appear one after another and stay: how many, which one first, second, last.

Sits on clips.py.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from ovexport.train.drawn.clips import FRAMES, SIDE_PX, clip, video_family
from ovexport.train.drawn.family import Drawing, Exchange, on_side
from ovexport.train.drawn.pictures import Figure, empty_scene, in_quadrant, random_figures, sentence
from ovexport.train.drawn.scene import SHAPES
from ovexport.train.drawn.wording import NUMBERS, capitalised

MAX_SHAPES = 4
FAMILIES = (video_family("order", 1 / len(SHAPES)), video_family("video-count", 1 / MAX_SHAPES))
_STARTS = ((0, 1), (2, 3), (4, 5), (6,))  # frames at which the first, second, ... shape may appear


@dataclass(frozen=True, kw_only=True)
class _Sequence:
    figures: tuple[Figure, ...]

    @property
    def meaning(self) -> str:
        return "arrival: " + ", then ".join(map(str, self.figures))


def _random_sequence(rng: random.Random) -> _Sequence:
    return _Sequence(figures=random_figures(rng, rng.randint(1, MAX_SHAPES)))


def _ask_order(figures: tuple[Figure, ...]) -> list[Exchange]:
    """For the first, the last, and the second where that is not the last."""
    asked = [(0, "first"), (-1, "last"), (1, "second")][: len(figures)]
    return [
        Exchange(family="order", question=f"Which shape appears {ordinal}?", answer=figures[number].shape.capitalize())
        for number, ordinal in asked
    ]


def draw(rng: random.Random, *, held_out: bool) -> Drawing:
    figures = on_side(lambda: _random_sequence(rng), asked=held_out).figures
    scene = empty_scene(rng, side_px=SIDE_PX)
    quadrants = rng.sample(range(4), len(figures))
    things = [in_quadrant(rng, scene, quadrant, figure) for quadrant, figure in zip(quadrants, figures, strict=True)]
    starts = [rng.choice(choices) for choices in _STARTS[: len(figures)]]
    frames = [tuple(thing for thing, start in zip(things, starts, strict=True) if start <= t) for t in range(FRAMES)]
    count = capitalised(NUMBERS[len(figures)])
    exchanges = [Exchange(family="video-count", question="How many shapes appear in the video?", answer=count)]
    if len(figures) > 1:
        exchanges += _ask_order(figures)
        rng.shuffle(exchanges)
    caption = sentence(", then ".join([f"{figures[0].phrase} appears", *(figure.phrase for figure in figures[1:])]))
    return clip("arrival", scene, frames, caption, exchanges)
