"""Drawings of shapes: answers and captions derived again from pixels and marks."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from drawn_pictures import colour_at, drawings, exchanges, first_line, place_of

from ovexport.train.drawn.family import Drawing, Mark
from ovexport.train.drawn.scene import COLOURS, PLACES, SHAPES

NUMBERS = ("Zero", "One", "Two", "Three", "Four")


def _fitting_marks(question: str, drawing: Drawing) -> list[Mark]:
    """The marks that every colour, shape and place named in the question applies to."""
    text = re.sub(r"In which part of the image|in the (image|picture)", "", question)
    colour = next((c for c in COLOURS if re.search(rf"\b{c}\b", text)), None)
    shape = next((s for s in SHAPES if re.search(rf"\b{s}(e?s)?\b", text)), None)
    place = next(
        (p for p in sorted(PLACES, key=len, reverse=True) if re.search(rf"(at the|on the|in the) {p}\b", text)), None
    )
    return [
        m for m in drawing.marks[0]
        if colour in (None, colour_at(drawing, m)) and shape in (None, m.what) and place in (None, place_of(m, drawing))
    ]  # fmt: skip


def _only(values: list[str]) -> str:
    assert len(set(values)) == 1, values
    return values[0].capitalize()


def _solve(question: str, drawing: Drawing, table: str) -> str:
    marks = _fitting_marks(question, drawing)
    return {
        "shape": lambda: _only([m.what for m in marks]),
        "colour": lambda: _only([colour_at(drawing, m) for m in marks]),
        "count": lambda: NUMBERS[len(marks)],
        "where": lambda: _only([place_of(m, drawing) for m in marks if len(marks) == 1]),
        "yes/no": lambda: "Yes" if marks else "No",
    }[table]()


@pytest.mark.parametrize("family", ["shape", "colour", "count", "where", "yes/no"])
def test_answers_about_shapes_follow_from_the_pixels(family: str) -> None:
    asked = exchanges("shapes", family, 600)
    assert len(asked) > 200
    for drawing, exchange in asked:
        question = first_line(exchange)
        assert _solve(question, drawing, family) == exchange.answer, (drawing.caption, exchange)


def test_the_letter_of_a_choice_points_at_the_right_option() -> None:
    tables = {**dict.fromkeys(SHAPES, "shape"), **dict.fromkeys(COLOURS, "colour"), **dict.fromkeys(PLACES, "where"),
              **dict.fromkeys([n.lower() for n in NUMBERS], "count")}  # fmt: skip
    letters: Counter[str] = Counter()
    for drawing, exchange in exchanges("shapes", "choice", 800):
        question, *options, prompt = exchange.question.split("\n")
        assert [o[:3] for o in options] == ["A. ", "B. ", "C. ", "D. "]
        assert prompt == "Answer with the option letter from the given choices directly."
        by_letter = {o[0]: o[3:] for o in options}
        assert len(set(by_letter.values())) == 4
        right = by_letter[exchange.answer]
        assert _solve(question, drawing, tables[right]) == right.capitalize(), (drawing.caption, exchange)
        letters[exchange.answer] += 1
    assert all(0.2 < letters[letter] / letters.total() < 0.3 for letter in "ABCD"), letters


def test_relations_hold_in_the_pixels() -> None:
    said: Counter[str] = Counter()
    for drawing, exchange in exchanges("shapes", "relation", 1000):
        match = re.match(r"Is the (\w+ \w+) (left of|right of|above|below) the (\w+ \w+)\?", exchange.question)
        assert match is not None
        one, side, other = match.groups()
        (a,), (b,) = ([m for m in drawing.marks[0] if f"{m.colour} {m.what}" == name] for name in (one, other))
        dx, dy = a.x0_px + a.x1_px - b.x0_px - b.x1_px, a.y0_px + a.y1_px - b.y0_px - b.y1_px
        yes = {"left of": dx < 0, "right of": dx > 0, "above": dy < 0, "below": dy > 0}[side]
        assert exchange.answer == ("Yes" if yes else "No"), (drawing.caption, exchange)
        said[exchange.answer] += 1
    assert said.total() > 120 and 0.4 < said["Yes"] / said.total() < 0.6


def test_yes_and_no_are_balanced_and_the_prompt_comes_half_of_the_time() -> None:
    asked = [e for _, e in exchanges("shapes", "yes/no", 800)]
    assert 0.4 < sum(e.answer == "Yes" for e in asked) / len(asked) < 0.6
    assert 0.4 < sum(e.question.endswith("\nAnswer the question with Yes or No.") for e in asked) / len(asked) < 0.6


def test_captions_of_shapes_name_everything() -> None:
    alike = 0
    for drawing in drawings("shapes", count=1000):
        kinds = Counter(f"{colour_at(drawing, m)} {m.what}" for m in drawing.marks[0])
        assert 1 <= kinds.total() <= 4 and len(kinds) <= 3
        phrases = re.split(r", | and ", drawing.caption.removesuffix("."))
        assert len(phrases) == len(kinds)
        order = [next(k for k in kinds if k in phrase) for phrase in phrases]
        assert order == sorted(kinds, key=lambda k: (list(COLOURS).index(k.split()[0]), SHAPES.index(k.split()[1])))
        for kind, phrase in zip(order, phrases, strict=True):
            if kinds[kind] > 1:
                assert phrase.split()[0].capitalize() == NUMBERS[kinds[kind]]
            else:
                (mark,) = (m for m in drawing.marks[0] if f"{m.colour} {m.what}" == kind)
                assert phrase.endswith(f" the {place_of(mark, drawing)}")
        described = [e for e in drawing.exchanges if e.family == "describe"]
        assert [e.answer for e in described] == [drawing.caption]
        alike += max(kinds.values()) > 1
    assert 0.4 < alike / 1000 < 0.6
