"""Asks an answerer every question of a suite and judges what it says.

Knows the interface of answerers, not who they are.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ovengines.errors import ExitCode, OVError
from ovexport.evaluate.answerer import About, Answerer
from ovexport.evaluate.question import Question
from ovexport.evaluate.scoring import score
from ovrun.media.image import ImageSource
from ovrun.media.video import load_frames

VIDEO_FPS, MAX_FRAMES = 1.0, 32

_OF_THE_QUESTION = (ExitCode.BAD_INPUT, ExitCode.LIMIT_EXCEEDED)  # errors that leave a question out


@dataclass(frozen=True, kw_only=True)
class Said:
    """An answer and how right it is, from 0 to 1."""

    text: str
    token_ids: tuple[int, ...]
    score: float
    took_ms: float


@dataclass(frozen=True, kw_only=True)
class Column:
    """What one target said, question by question; where it could not be asked, the reason."""

    name: str
    about: About
    answers: tuple[Said | str, ...]


def ask_all(
    name: str,
    answerer: Answerer,
    questions: Sequence[Question],
    *,
    max_new_tokens: int,
    on_answer: Callable[[], None] = lambda: None,
) -> Column:
    """Raises OVError as the answerer does, save for media that can't be read and prompts that are too long."""
    answers: list[Said | str] = []
    for question in questions:
        answers.append(_ask(answerer, question, max_new_tokens))
        on_answer()
    return Column(name=name, about=answerer.about, answers=tuple(answers))


def _ask(answerer: Answerer, question: Question, max_new_tokens: int) -> Said | str:
    start_s = time.perf_counter()
    try:
        text, token_ids = answerer.answer(question.images, _frames(question), question.prompt, max_new_tokens)
    except OVError as err:
        if err.code not in _OF_THE_QUESTION:
            raise
        return err.message
    took_ms = (time.perf_counter() - start_s) * 1e3
    return Said(text=text, token_ids=token_ids, score=score(text, question), took_ms=took_ms)


def _frames(question: Question) -> Sequence[ImageSource]:
    """Of a file as many as training takes."""
    if isinstance(question.video, Path):
        return load_frames(question.video, fps=VIDEO_FPS, max_frames=MAX_FRAMES)
    return question.video or ()
