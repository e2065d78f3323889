"""Counting: rows against a count with plain loops, intervals against the equation that defines them."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovengines.errors import ExitCode, OVError
from ovexport.evaluate.answerer import About
from ovexport.evaluate.ask import Column, Said
from ovexport.evaluate.question import LEVELS, LeftOut, Question, Suite
from ovexport.evaluate.tally import Z_95, count, wilson

VALUES = {
    "vision_input": ("single-image", "video", "text"),
    "instruction": ("General", ""),
    "response": ("fixed-form", "free-form"),
}


def random_question(rng: random.Random, number: int) -> Question:
    return Question(
        id=str(number),
        family=rng.choice("abc"),
        prompt="?",
        answers=("x",),
        scorer="fixed",
        chance=rng.choice((0.25, 0.5)),
        **{level: rng.choice(values) for level, values in VALUES.items()},
    )


def random_column(rng: random.Random, name: str, num: int, refusals: float) -> Column:
    about = About(source=name, kind="bundle", precision="fp32", engine="fake")
    answers = [
        "too long"
        if rng.random() < refusals
        else Said(
            text="",
            token_ids=tuple(rng.choices((1, 2), k=2)),
            score=rng.choice((0.0, 0.3, 1.0)),
            took_ms=rng.uniform(1, 9),
        )
        for _ in range(num)
    ]
    return Column(name=name, about=about, answers=tuple(answers))


@pytest.mark.parametrize("seed", range(20))
def test_rows(seed: int) -> None:
    rng = random.Random(seed)
    questions = tuple(random_question(rng, number) for number in range(rng.randint(1, 60)))
    columns = [random_column(rng, name, len(questions), 0.1 * (seed % 2)) for name in "xyz"[: rng.randint(1, 3)]]
    broken = (LeftOut(entry="e", reason="r"),)
    kept = [i for i in range(len(questions)) if all(isinstance(c.answers[i], Said) for c in columns)]
    if not kept:
        return
    tally = count(Suite(name="s", questions=questions, left_out=broken), columns)
    assert tally.all.num_questions == len(kept) and len(tally.left_out) == 1 + len(questions) - len(kept)
    for field, rows in (("family", tally.families), *tally.levels.items()):
        values = list(dict.fromkeys(value for i in kept if (value := getattr(questions[i], field))))
        assert [row.name for row in rows] == values, f"seed {seed}, {field}"
        for row in rows:
            members = [i for i in kept if getattr(questions[i], field) == row.name]
            assert row.num_questions == len(members)
            assert row.chance == pytest.approx(sum(questions[i].chance or 0 for i in members) / len(members))
            for column, share in zip(columns, row.shares, strict=True):
                total = sum(column.answers[i].score for i in members)  # type: ignore[union-attr]
                assert share.accuracy == pytest.approx(total / len(members)), f"seed {seed}, {field}, {row.name}"
                assert share.low <= share.accuracy <= share.high
    for column, same in zip(columns, tally.same_tokens, strict=True):
        ids = [(c.answers[i].token_ids) for c in (columns[0], column) for i in kept]  # type: ignore[union-attr]
        equal = sum(a == b for a, b in zip(ids[: len(kept)], ids[len(kept) :], strict=True))
        assert same == pytest.approx(equal / len(kept))
    assert tally.same_tokens[0] == 1


def test_unknown_chance_and_unsaid_levels() -> None:
    asked = [Question(id=str(i), family="f", prompt="?", answers=("x",), scorer="fixed") for i in range(2)]
    known = Question(id="2", family="g", prompt="?", answers=("x",), scorer="fixed", chance=0.5, instruction="General")
    column = random_column(random.Random(0), "x", 3, 0)
    tally = count(Suite(name="s", questions=(*asked, known)), [column])
    assert [row.chance for row in tally.families] == [None, 0.5] and tally.all.chance is None
    assert list(tally.levels) == ["instruction"] and set(tally.levels) < set(LEVELS)


@given(st.integers(1, 5000), st.floats(0, 1))
def test_intervals_end_z_standard_errors_away(num: int, mean: float) -> None:
    low, high = wilson(mean, num)
    assert 0 <= low <= mean <= high <= 1
    for end in (low, high):
        if 1e-9 < end < 1 - 1e-9:
            assert abs(end - mean) == pytest.approx(Z_95 * math.sqrt(end * (1 - end) / num), rel=1e-6, abs=1e-9)


def test_published_intervals() -> None:
    """8 of 10 and 0 of 10, from tables of the Wilson score interval."""
    assert wilson(0.8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert wilson(0.0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)


@pytest.mark.parametrize("left_out", [(), (LeftOut(entry="7", reason="no such file"),)])
def test_nothing_to_count(left_out: tuple[LeftOut, ...]) -> None:
    column = Column(name="x", about=About(source="", kind="", precision="", engine=""), answers=())
    with pytest.raises(OVError) as caught:
        count(Suite(name="empty", questions=(), left_out=left_out), [column])
    assert caught.value.code is ExitCode.BAD_INPUT and "empty" in caught.value.message
    assert all(each.reason in caught.value.message for each in left_out)
