"""A video of one shape that changes its colour midway: from which colour, to which.

Sits on clips.py.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from ovexport.train.drawn.clips import FRAMES, SIDE_PX, VIDEO_OBJECT, ask_object, clip, video_family
from ovexport.train.drawn.family import Drawing, Exchange, on_side
from ovexport.train.drawn.pictures import Figure, anywhere, empty_scene, sentence
from ovexport.train.drawn.scene import COLOURS, SHAPES, jittered

FAMILIES = (video_family("video-colour", 1 / len(COLOURS)), VIDEO_OBJECT)
_TURNS_AT = (3, 4, 5)  # first frame in the new colour


@dataclass(frozen=True, kw_only=True)
class _Change:
    figure: Figure
    colour: str

    @property
    def meaning(self) -> str:
        return f"repaint: {self.figure} to {self.colour}"


def _random_change(rng: random.Random) -> _Change:
    before, after = rng.sample(list(COLOURS), 2)
    return _Change(figure=Figure(colour=before, shape=rng.choice(SHAPES)), colour=after)


def _exchanges(rng: random.Random, change: _Change) -> list[Exchange]:
    """Both colours; the shape is asked for before a question names it, or not at all."""
    shape = change.figure.shape
    asked = [
        (f"Which colour does the {shape} turn?", change.colour),
        (f"What colour is the {shape} at the start?", change.figure.colour),
    ]
    exchanges = [
        Exchange(family="video-colour", question=question, answer=colour.capitalize())
        for question, colour in rng.sample(asked, len(asked))
    ]
    if rng.random() < 0.5:
        exchanges.insert(0, ask_object("What shape is in the video?", shape))
    return exchanges


def draw(rng: random.Random, *, held_out: bool) -> Drawing:
    change = on_side(lambda: _random_change(rng), asked=held_out)
    scene = empty_scene(rng, side_px=SIDE_PX)
    before = anywhere(rng, scene, change.figure)
    after = replace(before, colour=change.colour, rgb=jittered(change.colour, rng))
    turns_at = rng.choice(_TURNS_AT)
    frames = [(before if t < turns_at else after,) for t in range(FRAMES)]
    caption = sentence(f"{change.figure.phrase} turns {change.colour}")
    return clip("repaint", scene, frames, caption, _exchanges(rng, change))
