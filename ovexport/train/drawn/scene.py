"""Scenes of coloured shapes on a raster of 3x3 places: what is in one and how it is drawn.

Also the palette and the sizes that all drawings share. Knows nothing of questions, tiles or models; sits on family.py.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

from PIL import Image, ImageDraw

from ovexport.train.drawn.family import Mark

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
BACKGROUNDS: dict[str, RGB] = {
    "white": (255, 255, 255),
    "grey": (240, 240, 240),
    "cream": (250, 246, 232),
    "sky": (228, 238, 250),
    "mint": (232, 246, 232),
}
SHAPES = ("circle", "square", "triangle", "star", "diamond", "cross")
PLACES = ("top left", "top", "top right", "left", "centre", "right", "bottom left", "bottom", "bottom right")
THINGS = (1, 4)  # fewest and most of a scene

ONE_TILE_PX, TWO_TILES_PX = (80, 104), (105, 208)  # sides, by what a tile of 104 px makes of them
_SIZES = ((ONE_TILE_PX, ONE_TILE_PX), (ONE_TILE_PX, TWO_TILES_PX), (TWO_TILES_PX, ONE_TILE_PX),
          (TWO_TILES_PX, TWO_TILES_PX))  # fmt: skip
_SIZE_SHARES = (0.7, 0.1, 0.1, 0.1)  # most scenes fit one tile: training is cheap there
_COLOUR_JITTER = 10  # grey levels per channel
_SUPERSAMPLE = 3


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


def jittered(colour: str, rng: random.Random) -> RGB:
    """A shade of a named colour."""
    r, g, b = (min(255, max(0, c + rng.randint(-_COLOUR_JITTER, _COLOUR_JITTER))) for c in COLOURS[colour])
    return r, g, b


def random_size(rng: random.Random) -> tuple[int, int]:
    """(height, width) in pixels, mostly of one tile."""
    heights_px, widths_px = rng.choices(_SIZES, _SIZE_SHARES)[0]
    return rng.randint(*heights_px), rng.randint(*widths_px)


def random_scene(
    rng: random.Random, height_px: int, width_px: int, things: tuple[int, int] = THINGS, *, alike: bool = True
) -> Scene:
    """A scene of shapes, each inside its own cell of the raster: `things` are the fewest and the most.

    At most three kinds of them where some may be alike, each of its own where not.
    """
    count = rng.randint(*things)
    cells = rng.sample(range(9), count)
    kinds = _random_kinds(rng, count) if alike else _different_kinds(rng, count)
    placed = [random_thing(rng, cell, *kind, height_px, width_px) for cell, kind in zip(cells, kinds, strict=True)]
    background = rng.choice(list(BACKGROUNDS.values()))
    return Scene(width_px=width_px, height_px=height_px, background=background, things=tuple(placed))


def _random_kinds(rng: random.Random, count: int) -> list[tuple[str, str]]:
    kinds = [(rng.choice(list(COLOURS)), rng.choice(SHAPES)) for _ in range(count)]
    if count > 3 or (count > 1 and rng.random() < 0.5):  # alike ones, or counting would mostly be counting to one
        kinds[1] = kinds[0]
    if count > 2 and kinds[1] == kinds[0] and rng.random() < 0.4:
        kinds[2] = kinds[0]
    return kinds


def _different_kinds(rng: random.Random, count: int) -> list[tuple[str, str]]:
    """No colour and no shape twice."""
    return list(zip(rng.sample(list(COLOURS), count), rng.sample(SHAPES, count), strict=True))


def random_thing(rng: random.Random, cell: int, colour: str, shape: str, height_px: int, width_px: int) -> Thing:
    """A shape somewhere in cell 0..8 of a picture."""
    cell_h, cell_w = height_px / 3, width_px / 3
    size_px = rng.uniform(0.64, 0.92) * min(cell_h, cell_w)
    row, col = divmod(cell, 3)
    slack_x = min(0.47 * cell_w - size_px / 2, 0.2 * cell_w)  # stay clear of the next place
    slack_y = min(0.47 * cell_h - size_px / 2, 0.2 * cell_h)
    return Thing(
        shape=shape,
        colour=colour,
        place=PLACES[cell],
        rgb=jittered(colour, rng),
        x_px=(col + 0.5) * cell_w + rng.uniform(-slack_x, slack_x),
        y_px=(row + 0.5) * cell_h + rng.uniform(-slack_y, slack_y),
        size_px=size_px,
        angle_deg=rng.uniform(-8, 8),
    )


def render(scene: Scene) -> Image.Image:
    """The scene as an RGB picture, antialiased by drawing large and averaging."""
    factor = _SUPERSAMPLE
    canvas = Image.new("RGB", (scene.width_px * factor, scene.height_px * factor), scene.background)
    pen = ImageDraw.Draw(canvas)
    for thing in scene.things:
        pen.polygon([(x * factor, y * factor) for x, y in _outline(thing)], fill=thing.rgb)
    return canvas.reduce(factor)


def marks(scene: Scene) -> tuple[Mark, ...]:
    """The bounding box of every shape, in the order of the things."""
    return tuple(_mark(thing) for thing in scene.things)


def _mark(thing: Thing) -> Mark:
    xs, ys = zip(*_outline(thing), strict=True)
    return Mark(x0_px=min(xs), y0_px=min(ys), x1_px=max(xs), y1_px=max(ys), what=thing.shape, colour=thing.colour)


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
    "triangle": [(0.0, -0.95), (0.92, 0.85), (-0.92, 0.85)],
    "star": _spokes((1.0, 0.42), 10),
    "diamond": _spokes((1.0, 0.7), 4),
    "cross": [
        (-_ARM, -1.0), (_ARM, -1.0), (_ARM, -_ARM), (1.0, -_ARM), (1.0, _ARM), (_ARM, _ARM),
        (_ARM, 1.0), (-_ARM, 1.0), (-_ARM, _ARM), (-1.0, _ARM), (-1.0, -_ARM), (-_ARM, -_ARM),
    ],
}  # fmt: skip
