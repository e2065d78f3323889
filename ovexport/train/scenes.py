"""Scenes of coloured shapes: what is in one, how it is drawn, and which of them are held out.

Scene `index` of a seed is a pure function of both. The split goes by meaning: the hash of a scene's set of
(colour, shape, place), so a held-out combination is never trained on in any size, jitter or background.
Knows nothing of questions (questions.py), tiles or models. Sits below the rest of `ovexport.train`.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass

from PIL import Image, ImageDraw

RGB = tuple[int, int, int]

COLOURS: dict[str, RGB] = {
    "red": (214, 30, 38),
    "orange": (245, 133, 20),
    "yellow": (247, 214, 22),
    "green": (30, 150, 62),
    "blue": (32, 84, 214),
    "purple": (128, 44, 168),
    "pink": (250, 130, 190),
    "black": (24, 24, 26),
}
SHAPES = ("circle", "square", "triangle", "star", "diamond", "cross")
PLACES = ("top left", "top", "top right", "left", "centre", "right", "bottom left", "bottom", "bottom right")
MAX_OBJECTS = 5

_BACKGROUNDS: tuple[RGB, ...] = ((255, 255, 255), (240, 240, 240), (250, 246, 232), (228, 238, 250), (232, 246, 232))
_COLOUR_JITTER = 10  # grey levels per channel
_SUPERSAMPLE = 3
_HELD_OUT_ONE_IN = 10
# Heights and widths in px, by what a tile of 104 px makes of them. Most scenes fit one tile: training is cheap there.
SIZES: dict[str, tuple[tuple[int, int], tuple[int, int]]] = {
    "1x1": ((80, 104), (80, 104)),
    "1x2": ((80, 104), (105, 208)),
    "2x1": ((105, 208), (80, 104)),
    "2x2": ((105, 208), (105, 208)),
    "2x3": ((105, 208), (209, 312)),
    "3x2": ((209, 312), (105, 208)),
}
_SIZE_SHARES = (0.66, 0.1, 0.1, 0.1, 0.02, 0.02)


@dataclass(frozen=True, kw_only=True)
class Thing:
    """One shape of a scene; the centre is in pixels, the size is the side of its bounding square."""

    shape: str
    colour: str
    place: str
    rgb: RGB
    x_px: float
    y_px: float
    size_px: float
    angle_deg: float


@dataclass(frozen=True, kw_only=True)
class Scene:
    width_px: int
    height_px: int
    background: RGB
    things: tuple[Thing, ...]

    @property
    def meaning(self) -> str:
        """What is where, in one canonical line; sizes, jitter and background left out."""
        return "; ".join(sorted(f"{t.colour} {t.shape} {t.place}" for t in self.things))

    @property
    def is_held_out(self) -> bool:
        digest = hashlib.sha256(self.meaning.encode()).digest()
        return int.from_bytes(digest[:8], "big") % _HELD_OUT_ONE_IN == 0


def random_size(rng: random.Random) -> str:
    """A key of `SIZES`, in the shares of training and of the held-out scenes."""
    return rng.choices(list(SIZES), _SIZE_SHARES)[0]


def random_scene(rng: random.Random, height_px: int, width_px: int, max_things: int = MAX_OBJECTS) -> Scene:
    """A scene of 1..max_things shapes, each inside its own cell of a 3x3 raster."""
    count = rng.randint(1, max_things)
    cells = rng.sample(range(9), count)
    kinds = [(rng.choice(list(COLOURS)), rng.choice(SHAPES)) for _ in range(count)]
    if count > 1 and rng.random() < 0.5:  # alike ones, or counting would nearly always be counting to one
        kinds[1] = kinds[0]
        if count > 3 and rng.random() < 0.5:
            kinds[2] = kinds[0]
    things = [_thing(rng, cell, *kind, height_px, width_px) for cell, kind in zip(cells, kinds, strict=True)]
    background = rng.choice(_BACKGROUNDS)
    return Scene(width_px=width_px, height_px=height_px, background=background, things=tuple(things))


def _thing(rng: random.Random, cell: int, colour: str, shape: str, height_px: int, width_px: int) -> Thing:
    cell_h, cell_w = height_px / 3, width_px / 3
    size_px = rng.uniform(0.64, 0.92) * min(cell_h, cell_w)
    row, col = divmod(cell, 3)
    slack_x, slack_y = 0.47 * cell_w - size_px / 2, 0.47 * cell_h - size_px / 2
    slack_x, slack_y = min(slack_x, 0.2 * cell_w), min(slack_y, 0.2 * cell_h)  # stay clear of the next place
    rgb = tuple(min(255, max(0, c + rng.randint(-_COLOUR_JITTER, _COLOUR_JITTER))) for c in COLOURS[colour])
    return Thing(
        shape=shape,
        colour=colour,
        place=PLACES[cell],
        rgb=(rgb[0], rgb[1], rgb[2]),
        x_px=(col + 0.5) * cell_w + rng.uniform(-slack_x, slack_x),
        y_px=(row + 0.5) * cell_h + rng.uniform(-slack_y, slack_y),
        size_px=size_px,
        angle_deg=rng.uniform(-8, 8),
    )


def scenes(
    seed: str,
    *,
    held_out: bool,
    size: str | None = None,
    max_things: int = MAX_OBJECTS,
    same_size: bool = False,
) -> Iterator[tuple[int, Scene]]:
    """(index, scene) without end, in a fixed order: those of `seed` that belong to the asked side of the split.

    `size` is a key of `SIZES` (None: all, in their shares); `same_size` gives all of them the same pixels to a side.
    """
    for index in itertools.count():
        rng = random.Random(f"scene {seed} {index}")
        size_rng = random.Random(f"size {seed}") if same_size else rng
        heights_px, widths_px = SIZES[size or random_size(size_rng)]
        scene = random_scene(rng, size_rng.randint(*heights_px), size_rng.randint(*widths_px), max_things)
        if scene.is_held_out == held_out:
            yield index, scene


def draw(scene: Scene) -> Image.Image:
    """The scene as an RGB picture, antialiased by drawing large and averaging."""
    factor = _SUPERSAMPLE
    canvas = Image.new("RGB", (scene.width_px * factor, scene.height_px * factor), scene.background)
    pen = ImageDraw.Draw(canvas)
    for thing in scene.things:
        points = _outline(thing)
        pen.polygon([(x * factor, y * factor) for x, y in points], fill=thing.rgb)
    return canvas.reduce(factor)


def _outline(thing: Thing) -> list[tuple[float, float]]:
    """Corner points in picture pixels."""
    angle = math.radians(thing.angle_deg)
    cos, sin = math.cos(angle), math.sin(angle)
    half = thing.size_px / 2
    points = _UNIT_OUTLINES[thing.shape]
    return [(thing.x_px + half * (x * cos - y * sin), thing.y_px + half * (x * sin + y * cos)) for x, y in points]


def _spokes(radii: tuple[float, ...], count: int) -> list[tuple[float, float]]:
    """`count` points around the origin, the first one straight up, their distances taken from `radii` in turn."""
    turns = [(2 * math.pi * i / count, radii[i % len(radii)]) for i in range(count)]
    return [(r * math.sin(a), -r * math.cos(a)) for a, r in turns]


_ARM = 0.34
_UNIT_OUTLINES: dict[str, list[tuple[float, float]]] = {  # within [-1, 1], y down
    "circle": _spokes((1.0,), 48),
    "square": [(-0.86, -0.86), (0.86, -0.86), (0.86, 0.86), (-0.86, 0.86)],
    "triangle": [(0.0, -0.95), (0.98, 0.85), (-0.98, 0.85)],
    "star": _spokes((1.0, 0.42), 10),
    "diamond": _spokes((1.0, 0.7), 4),
    "cross": [
        (-_ARM, -1.0), (_ARM, -1.0), (_ARM, -_ARM), (1.0, -_ARM), (1.0, _ARM), (_ARM, _ARM),
        (_ARM, 1.0), (-_ARM, 1.0), (-_ARM, _ARM), (-1.0, _ARM), (-1.0, -_ARM), (-_ARM, -_ARM),
    ],
}  # fmt: skip
