"""A question with all that is needed to ask it and to judge the answer, and a suite: a list of them.

The lowest file of `ovexport.evaluate`; knows no model and no file format.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ovrun.media.image import ImageSource

LEVELS = ("vision_input", "instruction", "response")  # of the paper's taxonomy


@dataclass(frozen=True, kw_only=True, eq=False)
class Question:
    """`prompt` may mark the places of its media. The levels of the taxonomy are "" where nobody has said them."""

    id: str
    family: str
    prompt: str
    answers: tuple[str, ...]  # any of them is right; for choices the letter, for "vqa-soft" what ten people said
    scorer: str  # a name in `scoring.SCORERS`
    images: tuple[ImageSource, ...] = ()
    video: tuple[ImageSource, ...] | Path | None = None  # the frames of one clip, or the file of one
    choices: tuple[str, ...] = ()  # the texts behind the letters A, B, ...
    chance: float | None = None  # accuracy of the best guess that sees nothing
    vision_input: str = ""
    instruction: str = ""
    response: str = ""


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """An entry of a suite that could not be read or asked."""

    entry: str
    reason: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Suite:
    """`settings` are what made it, for the report."""

    name: str
    questions: tuple[Question, ...]
    left_out: tuple[LeftOut, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)
