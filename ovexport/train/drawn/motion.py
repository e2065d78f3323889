"""A video of one shape that moves left, right, up or down at a constant speed.

Sits on clips.py.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from ovexport.train.drawn.clips import FRAMES, SIDE_PX, VIDEO_OBJECT, ask_object, clip, video_family
from ovexport.train.drawn.family import Drawing, Exchange, on_side
from ovexport.train.drawn.pictures import Figure, empty_scene, placed, random_figures, sentence
from ovexport.train.drawn.scene import Thing

DIRECTIONS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}  # x, y; y points down
FAMILIES = (video_family("direction", 1 / len(DIRECTIONS)), VIDEO_OBJECT)

_SIZE_PX = (32.0, 46.0)
_MIN_WAY_PX = 50.0
_EDGE_PX = 2.0  # always left free beside the shape
_LANES = 3  # where the way lies across its direction


@dataclass(frozen=True, kw_only=True)
class _Way:
    figure: Figure
    direction: str
    lane: int

    @property
    def meaning(self) -> str:
        return f"motion: {self.figure} {self.direction} in lane {self.lane}"


def _random_way(rng: random.Random) -> _Way:
    direction, lane = rng.choice(list(DIRECTIONS)), rng.randrange(_LANES)
    return _Way(figure=random_figures(rng, 1)[0], direction=direction, lane=lane)


def _frames(rng: random.Random, way: _Way) -> list[tuple[Thing, ...]]:
    """The thing in every frame, along a way that stays inside the picture."""
    size_px = rng.uniform(*_SIZE_PX)
    low, high = size_px / 2 + _EDGE_PX, SIDE_PX - size_px / 2 - _EDGE_PX
    length_px = rng.uniform(_MIN_WAY_PX, high - low)
    start_px = rng.uniform(low, high - length_px)
    across_px = low + (high - low) * (way.lane + rng.random()) / _LANES
    thing = placed(rng, way.figure, 0, 0, size_px)
    dx, dy = DIRECTIONS[way.direction]
    frames: list[tuple[Thing, ...]] = []
    for t in range(FRAMES):
        along_px = start_px + length_px * (t if dx + dy > 0 else FRAMES - 1 - t) / (FRAMES - 1)
        x_px, y_px = (along_px, across_px) if dx else (across_px, along_px)
        frames.append((replace(thing, x_px=x_px, y_px=y_px),))
    return frames


def draw(rng: random.Random, *, held_out: bool) -> Drawing:
    way = on_side(lambda: _random_way(rng), asked=held_out)
    shape = way.figure.shape
    exchanges = [
        Exchange(
            family="direction",
            question=f"In which direction does the {shape} move?",
            answer=way.direction.capitalize(),
        )
    ]
    # The question for the direction names the shape, so the shape is asked for first or not at all.
    if rng.random() < 0.5:
        question = rng.choice(("What shape moves in the video?", "What shape is in the video?"))
        exchanges.insert(0, ask_object(question, shape))
    caption = sentence(f"{way.figure.phrase} moves {way.direction}")
    return clip("motion", empty_scene(rng, side_px=SIDE_PX), _frames(rng, way), caption, exchanges)
