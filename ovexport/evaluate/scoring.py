"""How right an answer is, from 0 to 1: a small function per kind of question, in a table by name.

Knows text only, no models.
"""

from __future__ import annotations

from collections.abc import Callable

from ovexport.evaluate.letters import chosen_letter
from ovexport.evaluate.question import Question
from ovexport.evaluate.vqa_words import comparable

Scorer = Callable[[str, Question], float]

AGREEING = 3  # people who have to agree with a soft answer for it to be all right


def exact(said: str, question: Question) -> float:
    """The very words: for sentences."""
    return float(said.strip() in {answer.strip() for answer in question.answers})


def fixed(said: str, question: Question) -> float:
    """As `exact`, but neither case nor a full stop at the end counts: for words and numbers."""
    return float(_tidy(said) in map(_tidy, question.answers))


def vqa(said: str, question: Question) -> float:
    """Any of the answers, punctuation, articles and the spelling of numbers apart."""
    return float(comparable(said) in map(comparable, question.answers))


def vqa_soft(said: str, question: Question) -> float:
    """VQA accuracy: min(1, people who said so / 3), averaged over leaving out each person in turn, as official."""
    agree = [comparable(said) == comparable(answer) for answer in question.answers]
    scores = [min(1.0, (sum(agree) - itself) / AGREEING) for itself in agree]
    return sum(scores) / len(scores)


def choice(said: str, question: Question) -> float:
    """The right letter, or the text behind it."""
    return float(chosen_letter(said, question.choices) in question.answers)


SCORERS: dict[str, Scorer] = {
    "exact": exact,
    "fixed": fixed,
    "vqa": vqa,
    "vqa-soft": vqa_soft,
    "choice": choice,
}


def score(said: str, question: Question) -> float:
    return SCORERS[question.scorer](said, question)


def _tidy(text: str) -> str:
    return text.strip().removesuffix(".").rstrip().casefold()
