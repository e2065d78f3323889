"""Scores of questions -> accuracy by family, by level of the taxonomy and of all, with 95 % intervals.

Only questions that every target answered count, so that the columns of a row can be compared.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ovengines.errors import ExitCode, OVError
from ovexport.evaluate.ask import Column, Said
from ovexport.evaluate.question import LEVELS, LeftOut, Question, Suite

Z_95 = 1.959963984540054  # of the normal distribution, both sides


@dataclass(frozen=True, kw_only=True)
class Share:
    """A mean score, and the Wilson interval in which it lies at 95 % confidence."""

    accuracy: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Row:
    """Some of the questions; `chance` is None where nobody knows it of all of them."""

    name: str
    num_questions: int
    chance: float | None
    shares: tuple[Share, ...]  # one per target


@dataclass(frozen=True, kw_only=True)
class Tally:
    families: tuple[Row, ...]
    levels: dict[str, tuple[Row, ...]]  # by level of the taxonomy, without values that nobody has said
    all: Row
    same_tokens: tuple[float, ...]  # share of answers that are the first target's, token for token
    ms_per_question: tuple[float, ...]
    left_out: tuple[LeftOut, ...]


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """A question that all targets answered."""

    question: Question
    said: tuple[Said, ...]


def count(suite: Suite, columns: Sequence[Column]) -> Tally:
    """Raises OVError (BAD_INPUT) if no question was answered by all."""
    asked, refused = _by_question(suite, columns)
    left_out = (*suite.left_out, *refused)
    if not asked:
        first = f": {left_out[0].entry}: {left_out[0].reason}" if left_out else ": it is empty"
        raise OVError(
            ExitCode.BAD_INPUT,
            f"no question of the suite {suite.name} could be asked{first}",
            "use another suite, or a model with a longer context",
        )
    return Tally(
        families=_rows(asked, "family"),
        levels={level: rows for level in LEVELS if (rows := _rows(asked, level))},
        all=_row("all", asked),
        same_tokens=tuple(
            _mean([float(each.said[i].token_ids == each.said[0].token_ids) for each in asked])
            for i in range(len(columns))
        ),
        ms_per_question=tuple(_mean([each.said[i].took_ms for each in asked]) for i in range(len(columns))),
        left_out=left_out,
    )


def wilson(mean: float, num: int, z: float = Z_95) -> tuple[float, float]:
    """The interval of the shares p for which `mean` of `num` tries is no further than z standard errors away."""
    centre = (mean + z * z / (2 * num)) / (1 + z * z / num)
    half = z / (1 + z * z / num) * math.sqrt(mean * (1 - mean) / num + z * z / (4 * num * num))
    low, high = max(0.0, centre - half), min(1.0, centre + half)
    return min(low, mean), max(high, mean)  # at 0 and at 1 they differ by what was rounded off


def _by_question(suite: Suite, columns: Sequence[Column]) -> tuple[list[_Asked], list[LeftOut]]:
    asked, refused = [], []
    for question, answers in zip(suite.questions, zip(*(c.answers for c in columns), strict=True), strict=True):
        said = tuple(answer for answer in answers if isinstance(answer, Said))
        if len(said) == len(answers):
            asked.append(_Asked(question=question, said=said))
        else:
            reason = next(answer for answer in answers if isinstance(answer, str))
            refused.append(LeftOut(entry=question.id, reason=reason))
    return asked, refused


def _rows(asked: Sequence[_Asked], field: str) -> tuple[Row, ...]:
    """A row per value of a question's field, but for ""."""
    groups: dict[str, list[_Asked]] = {}
    for each in asked:
        if name := getattr(each.question, field):
            groups.setdefault(name, []).append(each)
    return tuple(_row(name, group) for name, group in groups.items())


def _row(name: str, asked: Sequence[_Asked]) -> Row:
    chances = [each.question.chance for each in asked]
    known = [chance for chance in chances if chance is not None]
    scores_by_target = zip(*([said.score for said in each.said] for each in asked), strict=True)
    return Row(
        name=name,
        num_questions=len(asked),
        chance=_mean(known) if len(known) == len(chances) else None,
        shares=tuple(_share(scores) for scores in scores_by_target),
    )


def _share(scores: Sequence[float]) -> Share:
    accuracy = _mean(scores)
    low, high = wilson(accuracy, len(scores))
    return Share(accuracy=accuracy, low=low, high=high)


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
