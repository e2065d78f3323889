"""Nothing of what is held out for questions to the model is drawn in training."""

from __future__ import annotations

import pytest
from drawn_pictures import drawings, first_line, place_of

from ovexport.train.drawn.family import Drawing, held_out


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
