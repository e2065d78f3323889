"""What all drawn videos share: eight frames of one tile, one per second, and the question for the shape in them.

A frame is only 4x4 tokens to the model, so shapes are large and ways are long. Sits on scene.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from ovexport.train.drawn.family import Drawing, Exchange, Family
from ovexport.train.drawn.scene import SHAPES, Scene, Thing, marks, render

FRAMES = 8
SIDE_PX = 104


def video_family(name: str, chance: float) -> Family:
    return Family(name=name, vision_input="video", instruction="General", response="fixed-form", chance=chance)


VIDEO_OBJECT = video_family("video-object", 1 / len(SHAPES))


def ask_object(question: str, shape: str) -> Exchange:
    return Exchange(family=VIDEO_OBJECT.name, question=question, answer=shape.capitalize())


def clip(
    kind: str, scene: Scene, frames: Iterable[tuple[Thing, ...]], caption: str, exchanges: Sequence[Exchange]
) -> Drawing:
    """The drawing of a video whose frames show `scene` with these things in turn."""
    scenes = [replace(scene, things=things) for things in frames]
    return Drawing(
        kind=kind,
        frames=tuple(map(render, scenes)),
        marks=tuple(map(marks, scenes)),
        caption=caption,
        exchanges=tuple(exchanges),
    )
