"""Fixed sequences of drawings of one picture (or of none), and what their pixels and marks say."""

from __future__ import annotations

import random
from functools import cache
from importlib import import_module

import numpy as np

from ovexport.train.drawn.family import Drawing, Exchange, Mark
from ovexport.train.drawn.scene import COLOURS, PLACES


@cache
def _endless(kind: str, asked: bool) -> tuple[list[Drawing], random.Random]:
    return [], random.Random(f"test {kind} {asked}")


def drawings(kind: str, *, asked: bool = False, count: int = 200) -> list[Drawing]:
    """The first `count` of a fixed sequence; none is drawn twice."""
    done, rng = _endless(kind, asked)
    while len(done) < count:
        done.append(import_module(f"ovexport.train.drawn.{kind}").draw(rng, held_out=asked))
    return done[:count]


def exchanges(kind: str, family: str, count: int = 200) -> list[tuple[Drawing, Exchange]]:
    return [(d, e) for d in drawings(kind, count=count) for e in d.exchanges if e.family == family]


def first_line(exchange: Exchange) -> str:
    return exchange.question.split("\n")[0]


def place_of(mark: Mark, drawing: Drawing) -> str:
    width, height = drawing.images[0].size
    column = int((mark.x0_px + mark.x1_px) / 2 / width * 3)
    return PLACES[3 * int((mark.y0_px + mark.y1_px) / 2 / height * 3) + column]


def colour_at(drawing: Drawing, mark: Mark) -> str:
    """The palette's name for the pixel in the middle of the mark."""
    at = int((mark.x0_px + mark.x1_px) / 2), int((mark.y0_px + mark.y1_px) / 2)
    pixel = np.array(drawing.images[0].getpixel(at))
    return min(COLOURS, key=lambda name: np.abs(pixel - COLOURS[name]).sum())
