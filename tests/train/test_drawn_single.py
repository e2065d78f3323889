"""Drawings of one picture (and of none): what all kinds have in common, and how often an answer comes."""

from __future__ import annotations

import random
from collections import Counter
from importlib import import_module

import pytest
from drawn_pictures import drawings, exchanges

from ovexport.train.drawn.family import MOST_EXCHANGES, Family
from ovexport.train.drawn.scene import COLOURS

KINDS = ("shapes", "sign", "small_text", "bars", "table", "sum_picture", "words")
PICTURES = KINDS[:-1]


def families(kind: str) -> tuple[Family, ...]:
    return import_module(f"ovexport.train.drawn.{kind}").FAMILIES


@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_always_draws_the_same(kind: str) -> None:
    draw = import_module(f"ovexport.train.drawn.{kind}").draw
    rngs = random.Random(3), random.Random(3)
    random.seed(1)
    for _ in range(30):
        one, other = draw(rngs[0], held_out=False), draw(rngs[1], held_out=False)
        assert [i.tobytes() for i in one.images] == [i.tobytes() for i in other.images]
        assert (one.marks, one.caption, one.exchanges) == (other.marks, other.caption, other.exchanges)
        random.random()  # the global generator is nobody's source
    different = {(d.exchanges, *(i.tobytes() for i in d.images)) for d in drawings(kind)}
    assert len(different) > 0.95 * len(drawings(kind))


@pytest.mark.parametrize("kind", KINDS)
def test_form_of_drawings(kind: str) -> None:
    names = {family.name for family in families(kind)}
    seen: set[str] = set()
    for drawing in drawings(kind):
        assert drawing.kind == kind and not drawing.frames
        assert len(drawing.images) == len(drawing.marks) == (kind != "words")
        assert all(image.mode == "RGB" for image in drawing.images)
        assert bool(drawing.caption) == (kind != "words")
        questions = [e.question for e in drawing.exchanges]
        assert 1 <= len(questions) <= MOST_EXCHANGES and len(set(questions)) == len(questions)
        for exchange in drawing.exchanges:
            first = exchange.answer[0]
            assert first.isdigit() or first.isupper()
            assert exchange.answer.endswith(".") == (exchange.family == "describe")
            assert "color" not in exchange.question
        seen |= {e.family for e in drawing.exchanges}
    assert seen == names


@pytest.mark.parametrize("kind", PICTURES)
def test_marks_lie_inside_the_picture(kind: str) -> None:
    for asked in (False, True):
        for drawing in drawings(kind, asked=asked):
            width, height = drawing.images[0].size
            for mark in drawing.marks[0]:
                assert 0 <= mark.x0_px < mark.x1_px <= width, (kind, mark, width)
                assert 0 <= mark.y0_px < mark.y1_px <= height, (kind, mark, height)
                assert mark.colour in COLOURS


@pytest.mark.parametrize("kind", PICTURES)
def test_no_answer_is_more_frequent_than_the_family_admits(kind: str) -> None:
    for family in families(kind):
        answers = Counter(e.answer for _, e in exchanges(kind, family.name, 800))
        share, noise = answers.most_common(1)[0][1] / answers.total(), 1.5 / answers.total() ** 0.5  # three sigma
        assert share < family.chance + min(noise, 0.15), (family, answers.most_common(3))
