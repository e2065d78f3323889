"""The suite of the project's own drawings: held-out questions of every family.

Joins `ovexport.train.drawn` and `question`. Pictures are kept as PNG files in memory: a hundredth of their pixels.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping

from PIL import Image

from ovexport.evaluate.question import Question, Suite
from ovexport.train.drawn.family import Drawing, Exchange, Family
from ovexport.train.drawn.heldout import heldout_drawings
from ovexport.train.drawn.kind import Kind
from ovrun.session import Progress

NAME = "drawn"


def drawn_suite(kinds: Mapping[str, Kind], per_family: int, seed: int = 0, progress: Progress | None = None) -> Suite:
    """`per_family` questions of every family of `kinds`; the same ones for the same seed."""
    families = {family.name: family for kind in kinds.values() for family in kind.families}
    questions: list[Question] = []
    for drawing, exchange in heldout_drawings(kinds, per_family, seed):
        questions.append(_question(len(questions), drawing, exchange, families[exchange.family]))
        if progress:
            progress(drawing.kind, len(questions), per_family * len(families))
    return Suite(name=NAME, questions=tuple(questions), settings={"per_family": per_family, "seed": seed})


def _question(number: int, drawing: Drawing, exchange: Exchange, family: Family) -> Question:
    return Question(
        id=f"{drawing.kind}-{number}",
        family=family.name,
        prompt=exchange.question,
        answers=(exchange.answer,),
        scorer="exact" if family.response == "free-form" else "fixed",
        images=_png_files(drawing.images),
        video=_png_files(drawing.frames) or None,
        chance=family.chance,
        vision_input=family.vision_input,
        instruction=family.instruction,
        response=family.response,
    )


def _png_files(images: Iterable[Image.Image]) -> tuple[bytes, ...]:
    files = []
    for image in images:
        stream = io.BytesIO()
        image.save(stream, format="PNG", compress_level=1)
        files.append(stream.getvalue())
    return tuple(files)
