"""Small pictures of one to four large shapes: what the multi-image and video generators are made of.

A `Figure` is a (colour, shape), which is all that meanings, questions and captions speak of; a `Thing` is one of
them placed in a picture. Knows nothing of questions; sits on scene.py and wording.py.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from ovexport.train.drawn.scene import BACKGROUNDS, COLOURS, ONE_TILE_PX, SHAPES, Scene, Thing, jittered
from ovexport.train.drawn.wording import capitalised, listed, with_article

ORDINALS = ("first", "second", "third", "fourth")

_QUADRANT_FILL = (0.76, 0.9)  # side of a shape in sides of its quadrant
_ALONE_FILL = (0.4, 0.58)  # side of a shape in sides of the picture
_MAX_ANGLE_DEG = 6.0


@dataclass(frozen=True, kw_only=True)
class Figure:
    colour: str
    shape: str

    def __str__(self) -> str:
        return f"{self.colour} {self.shape}"

    @property
    def phrase(self) -> str:
        return with_article(str(self))


def sentence(text: str) -> str:
    return capitalised(text) + "."


def listing(figures: Sequence[Figure]) -> str:
    return listed([figure.phrase for figure in figures])


def random_figures(rng: random.Random, count: int) -> tuple[Figure, ...]:
    """`count` figures, no two of one colour or one shape."""
    pairs = zip(rng.sample(list(COLOURS), count), rng.sample(SHAPES, count), strict=True)
    return tuple(Figure(colour=colour, shape=shape) for colour, shape in pairs)


def empty_scene(rng: random.Random, *, side_px: int | None = None) -> Scene:
    """One that a tile holds, its sides random or both of `side_px`."""
    width_px, height_px = (side_px or rng.randint(*ONE_TILE_PX) for _ in range(2))
    background = rng.choice(list(BACKGROUNDS.values()))
    return Scene(width_px=width_px, height_px=height_px, background=background, things=())


def arranged(rng: random.Random, scene: Scene, figures: Sequence[Figure]) -> list[Thing]:
    """One figure anywhere, several in quadrants of their own, in reading order."""
    if len(figures) == 1:
        return [anywhere(rng, scene, figures[0])]
    quadrants = sorted(rng.sample(range(4), len(figures)))
    return [in_quadrant(rng, scene, quadrant, figure) for quadrant, figure in zip(quadrants, figures, strict=True)]


def in_quadrant(rng: random.Random, scene: Scene, quadrant: int, figure: Figure) -> Thing:
    """`figure` within quadrant 0..3 of the picture, in reading order."""
    cell_w, cell_h = scene.width_px / 2, scene.height_px / 2
    size_px = rng.uniform(*_QUADRANT_FILL) * min(cell_w, cell_h)
    row, col = divmod(quadrant, 2)
    slack_x, slack_y = (cell_w - size_px) / 2 - 1, (cell_h - size_px) / 2 - 1
    x_px = (col + 0.5) * cell_w + rng.uniform(-slack_x, slack_x)
    y_px = (row + 0.5) * cell_h + rng.uniform(-slack_y, slack_y)
    return placed(rng, figure, x_px, y_px, size_px)


def anywhere(rng: random.Random, scene: Scene, figure: Figure) -> Thing:
    """`figure` somewhere in the picture, larger than in a quadrant."""
    size_px = rng.uniform(*_ALONE_FILL) * min(scene.width_px, scene.height_px)
    margin_px = size_px / 2 + 2
    x_px, y_px = (rng.uniform(margin_px, side - margin_px) for side in (scene.width_px, scene.height_px))
    return placed(rng, figure, x_px, y_px, size_px)


def placed(rng: random.Random, figure: Figure, x_px: float, y_px: float, size_px: float) -> Thing:
    return Thing(
        shape=figure.shape,
        colour=figure.colour,
        place="",  # the places of a raster of 3x3 mean nothing here
        rgb=jittered(figure.colour, rng),
        x_px=x_px,
        y_px=y_px,
        size_px=size_px,
        angle_deg=rng.uniform(-_MAX_ANGLE_DEG, _MAX_ANGLE_DEG),
    )
