"""Drawings of one picture (and of none): answers derived again from pixels and marks, the split, and the statistics."""

from __future__ import annotations

import random
import re
from collections import Counter
from functools import cache
from importlib import import_module

import numpy as np
import pytest
from transformers.image_processing_utils import select_best_resolution

from ovexport.train.drawn.family import MOST_EXCHANGES, Drawing, Exchange, Family, Mark, held_out
from ovexport.train.drawn.scene import COLOURS, PLACES, SHAPES

KINDS = ("shapes", "sign", "small_text", "bars", "table", "sum_picture", "words")
PICTURES = KINDS[:-1]
TEXTS = ("sign", "small_text", "table", "sum_picture")
TILE_PX = 104
NUMBERS = ("Zero", "One", "Two", "Three", "Four")


@cache
def _endless(kind: str, asked: bool) -> tuple[list[Drawing], random.Random]:
    return [], random.Random(f"test {kind} {asked}")


def drawings(kind: str, *, asked: bool = False, count: int = 200) -> list[Drawing]:
    """The first `count` of a fixed sequence; none is drawn twice."""
    done, rng = _endless(kind, asked)
    while len(done) < count:
        done.append(import_module(f"ovexport.train.drawn.{kind}").draw(rng, held_out=asked))
    return done[:count]


def families(kind: str) -> tuple[Family, ...]:
    return import_module(f"ovexport.train.drawn.{kind}").FAMILIES


def exchanges(kind: str, family: str, count: int = 200) -> list[tuple[Drawing, Exchange]]:
    return [(d, e) for d in drawings(kind, count=count) for e in d.exchanges if e.family == family]


def first_line(exchange: Exchange) -> str:
    return exchange.question.split("\n")[0]


def place_of(mark: Mark, drawing: Drawing) -> str:
    width, height = drawing.images[0].size
    column = int((mark.x0_px + mark.x1_px) / 2 / width * 3)
    return PLACES[3 * int((mark.y0_px + mark.y1_px) / 2 / height * 3) + column]


def colour_at(drawing: Drawing, mark: Mark) -> str:
    """The palette's name for the pixel in the middle of the mark."""
    at = int((mark.x0_px + mark.x1_px) / 2), int((mark.y0_px + mark.y1_px) / 2)
    pixel = np.array(drawing.images[0].getpixel(at))
    return min(COLOURS, key=lambda name: np.abs(pixel - COLOURS[name]).sum())


def lines(drawing: Drawing) -> list[tuple[str, Mark]]:
    """Runs of characters: a new one where the next glyph is not just to the right of the one before."""
    runs: list[list[Mark]] = []
    for mark in (m for m in drawing.marks[0] if len(m.what) == 1):
        height = mark.y1_px - mark.y0_px
        last = runs[-1][-1] if runs else None
        near = last is not None and -2 <= mark.x0_px - last.x1_px < max(height, 8) and abs(mark.y1_px - last.y1_px) < 9
        runs[-1].append(mark) if near else runs.append([mark])
    return [("".join(m.what for m in run), run[len(run) // 2]) for run in runs]


# ---------------------------------------------------------------------------------------------- all kinds


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


def _said(drawing: Drawing) -> str:
    """What must not be on both sides: for pictures with codes the codes, else all that the picture shows."""
    place = [place_of(m, drawing) for m in drawing.marks[0]]
    if drawing.kind == "sum_picture":
        return f"{drawing.caption} {drawing.images[0].getpixel((0, 0))} {place[0].split()[0]}"
    return "; ".join(sorted(f"{m.what} {m.colour} {p}" for m, p in zip(drawing.marks[0], place, strict=True)))


@pytest.mark.parametrize("kind", ["shapes", "bars", "table"])
def test_no_content_is_on_both_sides(kind: str) -> None:
    of = _said if kind == "shapes" else (lambda drawing: drawing.caption)
    trained = {of(d) for d in drawings(kind, count=1000)}
    kept = {of(d) for d in drawings(kind, asked=True)}
    assert not trained & kept
    assert len(kept) > 150


def test_codes_that_are_held_out_are_nowhere_in_training() -> None:
    shown = {
        asked: {e.answer for kind in ("sign", "small_text", "words") for d in drawings(kind, asked=asked, count=800)
                for e in d.exchanges if e.family in ("sign", "small-text", "repeat")}
        for asked in (False, True)
    }  # fmt: skip
    assert not shown[False] & shown[True]
    assert len(shown[False]) > 1000 and len(shown[True]) > 150


def test_every_sum_is_trained_on_and_pictures_of_sums_are_split() -> None:
    trained, kept = drawings("sum_picture", count=3000), drawings("sum_picture", asked=True)
    assert {d.caption.split()[2] for d in kept} <= {d.caption.split()[2] for d in trained}
    assert not {_said(d) for d in trained} & {_said(d) for d in kept}


def test_sentences_are_split() -> None:
    sides = [
        {first_line(e) for d in drawings("words", asked=asked, count=800) for e in d.exchanges}
        for asked in (False, True)
    ]
    assert not sides[0] & sides[1]


def test_one_meaning_in_ten_is_held_out() -> None:
    assert 900 < sum(held_out(f"meaning {i}") for i in range(10_000)) < 1100


# ------------------------------------------------------------------------------------------------- shapes


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


# --------------------------------------------------------------------------------------------------- text


@pytest.mark.parametrize("kind", TEXTS)
def test_boxes_of_characters_are_tight(kind: str) -> None:
    """Ink touches every side of a box, and the pixels around the box are of one colour where nothing is near."""
    for drawing in drawings(kind, count=100):
        pixels = np.asarray(drawing.images[0]).astype(int)
        for mark in drawing.marks[0]:
            x0, y0, x1, y1 = (int(v) for v in (mark.x0_px, mark.y0_px, mark.x1_px, mark.y1_px))
            paper = pixels[y0 - 1, (x0 + x1) // 2]
            ink = np.abs(pixels[y0:y1, x0:x1] - paper).sum(axis=2) > 0
            assert ink[0].any() and ink[-1].any() and ink[:, 0].any() and ink[:, -1].any(), mark
            assert (np.abs(pixels[y0:y1, x0:x1] - paper).sum(axis=2) > 200).any(), mark
            assert (pixels[y0 - 1, x0:x1] == paper).all() and (pixels[y1, x0:x1] == paper).all(), mark


def test_signs_say_their_answer_on_a_board_of_their_colour() -> None:
    for drawing in drawings("sign"):
        ((text, _),) = lines(drawing)
        first = drawing.marks[0][0]
        board = Mark(x0_px=first.x0_px - 5, x1_px=first.x0_px - 3, y0_px=first.y0_px, y1_px=first.y1_px,
                     what="", colour="")  # fmt: skip
        right = {"sign": text, "colour": colour_at(drawing, board).capitalize()}
        assert all(right[e.family] == e.answer for e in drawing.exchanges)
        assert re.fullmatch(r"[B-Z][AEIOU][B-Z]|[1-9]\d\d?", text)
        assert 13 <= first.y1_px - first.y0_px <= 26


def test_small_text_is_asked_by_place() -> None:
    for drawing in drawings("small_text"):
        there = {place_of(mark, drawing): text for text, mark in lines(drawing)}
        assert 2 <= len(there) == len(drawing.exchanges) <= 4
        for exchange in drawing.exchanges:
            match = re.search(r"(?:at|on|in) the ([a-z ]+?)[?.]$", first_line(exchange))
            assert match and there[match[1]] == exchange.answer, (drawing.caption, exchange)


def test_small_text_is_small_in_the_base_view_and_sharp_in_the_tiles() -> None:
    pinpoints = [(r * TILE_PX, c * TILE_PX) for r in range(1, 7) for c in range(1, 7)]
    grids = set()
    for drawing in drawings("small_text"):
        width, height = drawing.images[0].size
        best = select_best_resolution((height, width), pinpoints)
        rows, columns = best[0] // TILE_PX, best[1] // TILE_PX
        scale = min(rows * TILE_PX / height, columns * TILE_PX / width)
        assert 0.99 < scale <= 1.25
        heights = [m.y1_px - m.y0_px for m in drawing.marks[0]]
        assert np.mean(heights) * TILE_PX / height < 7.5 and np.mean(heights) * scale > 10
        grids.add((rows, columns))
    assert grids == {(2, 2), (2, 3), (3, 2), (3, 3)}


def test_tables_answer_with_the_number_in_the_row_of_the_letter() -> None:
    for drawing in drawings("table"):
        cells = sorted(((m.y0_px + m.y1_px) // 2, m.x0_px, m.what) for m in drawing.marks[0])
        by_row = {
            letter: "".join(
                c for _, _, c in sorted((x, y, c) for y, x, c in cells if abs(y - row) < 12 and c.isdigit())
            )
            for row, _, letter in cells
            if letter.isalpha()
        }
        assert 3 <= len(by_row) == len(drawing.exchanges) <= 4
        for exchange in drawing.exchanges:
            (letter,) = (c for c in by_row if re.search(rf"\b{c}[?.]", first_line(exchange)))
            assert by_row[letter] == exchange.answer


def test_pictures_of_sums_are_right() -> None:
    for drawing in drawings("sum_picture"):
        text = "".join(m.what for m in drawing.marks[0])
        assert re.fullmatch(r"\d[+-]\d=", text)
        assert [e.answer for e in drawing.exchanges] == [str(eval(text[:-1]))] and "-" not in drawing.exchanges[
            0
        ].answer


# --------------------------------------------------------------------------------------------------- bars


def test_bars_are_as_high_as_their_values() -> None:
    for drawing in drawings("bars"):
        bars = [m for m in drawing.marks[0] if m.what == "bar"]
        digits = [m for m in drawing.marks[0] if m.what != "bar"]
        heights = {colour_at(drawing, b): b.y1_px - b.y0_px for b in bars}
        above = {
            b.colour: min(digits, key=lambda d, b=b: abs(d.x0_px + d.x1_px - b.x0_px - b.x1_px)).what  # type: ignore[misc]
            for b in bars
        }
        assert 3 <= len(heights) == len(bars) == len(digits) <= 4
        unit = sum(heights.values()) / sum(map(int, above.values()))
        assert all(abs(heights[colour] / unit - int(value)) < 0.35 for colour, value in above.items())
        for exchange in drawing.exchanges:
            if exchange.family == "bar-value":
                (colour,) = (c for c in heights if f" {c} " in exchange.question)
                assert above[colour] == exchange.answer
            else:
                most = max if re.search("highest|largest", exchange.question) else min
                assert most(heights, key=heights.__getitem__).capitalize() == exchange.answer


# -------------------------------------------------------------------------------------------------- words


def test_sums_in_words() -> None:
    for _, exchange in exchanges("words", "sum-text", 1000):
        question = first_line(exchange)
        one, other = (int(n) for n in re.findall(r"\d+", question))
        if re.search(r"plus|\+|Add|sum of", question):
            assert exchange.answer == str(one + other)
        else:
            assert exchange.answer == str(abs(one - other))
            assert (one < other) <= ("Subtract" in question or "Take" in question), question


def test_repeated_codes_and_first_and_last_words() -> None:
    for _, exchange in exchanges("words", "repeat"):
        assert re.search(rf"\b{exchange.answer}\b", exchange.question)
    for _, exchange in exchanges("words", "word-list"):
        match = re.search(r"\w+(, \w+)+", first_line(exchange).replace("which word", ""))
        assert match is not None
        words = match[0].split(", ")
        assert exchange.answer == words[0 if "first" in exchange.question else -1].capitalize()


def test_opposites_are_mutual() -> None:
    of: dict[str, str] = {}
    for _, exchange in exchanges("words", "opposite", 1500):
        match = re.search(r"opposite of (\w+)", exchange.question)
        word = match[1] if match else ""
        assert of.setdefault(word, exchange.answer.lower()) == exchange.answer.lower()
        if ", " in exchange.question:
            assert exchange.answer.lower() in re.findall(r"\w+", exchange.question.lower().replace(word, "", 1))
    assert len(of) == 40 and all(of[of[word]] == word for word in of)


# --------------------------------------------------------------------------------------------- statistics


@pytest.mark.parametrize("kind", PICTURES)
def test_no_answer_is_more_frequent_than_the_family_admits(kind: str) -> None:
    for family in families(kind):
        answers = Counter(e.answer for _, e in exchanges(kind, family.name, 800))
        share, noise = answers.most_common(1)[0][1] / answers.total(), 1.5 / answers.total() ** 0.5  # three sigma
        assert share < family.chance + min(noise, 0.15), (family, answers.most_common(3))
