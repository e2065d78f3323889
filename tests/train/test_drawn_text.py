"""Drawings to be read (signs, small text, tables, sums, bars): answers derived again from pixels and characters."""

from __future__ import annotations

import re

import numpy as np
import pytest
from drawn_pictures import colour_at, drawings, first_line, place_of
from transformers.image_processing_utils import select_best_resolution

from ovexport.train.drawn.family import Drawing, Mark

TEXTS = ("sign", "small_text", "table", "sum_picture")
TILE_PX = 104


def lines(drawing: Drawing) -> list[tuple[str, Mark]]:
    """Runs of characters: a new one where the next glyph is not just to the right of the one before."""
    runs: list[list[Mark]] = []
    for mark in (m for m in drawing.marks[0] if len(m.what) == 1):
        height = mark.y1_px - mark.y0_px
        last = runs[-1][-1] if runs else None
        near = last is not None and -2 <= mark.x0_px - last.x1_px < max(height, 8) and abs(mark.y1_px - last.y1_px) < 9
        runs[-1].append(mark) if near else runs.append([mark])
    return [("".join(m.what for m in run), run[len(run) // 2]) for run in runs]


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
