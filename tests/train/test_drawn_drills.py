"""What is drawn for practice alone: every answer is worked out again from the question, the marks or the meaning."""

from __future__ import annotations

import hashlib
import random
import re

import pytest

from ovexport.train.drawn.family import Drawing
from ovexport.train.drawn.kinds import KINDS, PRACTICE
from ovexport.train.drawn.scene import COLOURS


def drawings(kind: str, count: int = 200) -> list[Drawing]:
    rng = random.Random(f"drills {kind}")
    return [PRACTICE[kind].draw(rng, held_out=False) for _ in range(count)]


def test_they_are_never_asked_of_the_model() -> None:
    assert not PRACTICE.keys() & KINDS.keys()


def test_few_shapes_are_one_or_two() -> None:
    found = drawings("few-shapes")
    assert {len(d.marks[0]) for d in found} == {1, 2}
    assert all(d.caption.count(" and ") < 2 for d in found)


def test_the_letter_stands_before_the_option_named() -> None:
    letters = set()
    for drawing in drawings("letters"):
        assert not drawing.images and len(drawing.exchanges) > 1
        for exchange in drawing.exchanges:
            first, *options, _ = exchange.question.split("\n")
            word = re.fullmatch(r"(?:Which option is |Which of these is |Find )(.+)[?.]", first)[1]  # type: ignore[index]
            assert [option[0] for option in options] == list("ABCD")
            assert f"{exchange.answer}. {word}" in options and len(set(options)) == 4
            letters.add(exchange.answer)
    assert letters == set("ABCD")


@pytest.mark.parametrize(("kind", "told"), [("sides", "left of right of above below"), ("few-sides", "left of above")])
def test_sides_follow_from_the_marks(kind: str, told: str) -> None:
    answers, sides = set(), set()
    for drawing in drawings(kind):
        centre = {(m.colour, m.what): ((m.x0_px + m.x1_px) / 2, (m.y0_px + m.y1_px) / 2) for m in drawing.marks[0]}
        assert {e.family for e in drawing.exchanges} == {"relation"}
        for exchange in drawing.exchanges:
            colours = "|".join(COLOURS)
            one, shape, side, other, second = re.match(
                rf"Is the ({colours}) (\w+) (left of|right of|above|below) the ({colours}) (\w+)\?", exchange.question
            ).groups()  # type: ignore[union-attr]
            axis, sign = {"left of": (0, -1), "right of": (0, 1), "above": (1, -1), "below": (1, 1)}[side]
            way = (centre[one, shape][axis] - centre[other, second][axis]) * sign
            assert exchange.answer == ("Yes" if way > 0 else "No"), (drawing.caption, exchange)
            answers.add(exchange.answer)
            sides.add(side)
    assert answers == {"Yes", "No"} and all(side in told for side in sides) and len(sides) in (2, 4)


@pytest.mark.parametrize("kind", ["many-shapes", "sides"])
def test_no_colour_and_no_shape_twice(kind: str) -> None:
    found = [[(mark.colour, mark.what) for mark in drawing.marks[0]] for drawing in drawings(kind)]
    for things in found:
        assert len(dict(things)) == len(dict(map(reversed, things))) == len(things)  # type: ignore[arg-type]
    assert {len(things) for things in found} == ({2, 3, 4} if kind == "many-shapes" else {2, 3})


@pytest.mark.parametrize(("kind", "counts"), [("few-rows", {1, 2}), ("few-bars", {2, 3}), ("few-lines", {1, 2})])
def test_few_are_few(kind: str, counts: set[int]) -> None:
    family = {"few-rows": "table", "few-bars": "bar-value", "few-lines": "small-text"}[kind]
    assert {sum(e.family == family for e in drawing.exchanges) for drawing in drawings(kind)} == counts


@pytest.mark.parametrize("kind", ["few-shapes", "few-sides", "sides", "many-shapes"])
def test_what_is_held_out_is_not_practised(kind: str) -> None:
    """The captions name what is where; none of them has a meaning on the other side of the split."""
    held = re.compile(r"an? (\w+ \w+) (?:at the |on the |in the )([a-z ]+?)(?=,| and |\.$)")
    checked = 0
    for drawing in drawings(kind):
        things = held.findall(drawing.caption[0].lower() + drawing.caption[1:])
        if len(things) != len(drawing.marks[0]):
            continue  # alike things are told without their places
        meaning = "; ".join(sorted(f"{name} {place}" for name, place in things))
        assert int(hashlib.sha256(meaning.encode()).hexdigest()[:16], 16) % 10 != 0, meaning
        checked += 1
    assert checked > 80
