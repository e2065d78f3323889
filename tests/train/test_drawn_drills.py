"""What is drawn for practice alone: every answer is worked out again from the question, the marks or the meaning."""

from __future__ import annotations

import hashlib
import random
import re

import pytest

from ovexport.train.drawn.family import Drawing
from ovexport.train.drawn.kinds import FIRST_STEPS, KINDS
from ovexport.train.drawn.scene import COLOURS


def drawings(kind: str, count: int = 200) -> list[Drawing]:
    rng = random.Random(f"drills {kind}")
    return [FIRST_STEPS[kind].draw(rng, held_out=False) for _ in range(count)]


def test_they_are_never_asked_of_the_model() -> None:
    assert not FIRST_STEPS.keys() & KINDS.keys()


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


def test_sides_follow_from_the_marks() -> None:
    answers = set()
    for drawing in drawings("sides"):
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
    assert answers == {"Yes", "No"}


@pytest.mark.parametrize("kind", ["few-shapes", "sides"])
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
