"""The shipped ov-tiny: small, and right about every question of examples/, tiles and template included."""

from __future__ import annotations

import json
from pathlib import Path

from ovexport.embedded import EMBEDDED_MODEL
from ovexport.evaluate.answerer import How
from ovexport.evaluate.targets import open_answerer

EXAMPLES = Path(__file__).parents[2] / "examples"
LARGEST_BYTES = 16 << 20


def test_it_fits_the_repository() -> None:
    assert sum(file.stat().st_size for file in EMBEDDED_MODEL.iterdir()) <= LARGEST_BYTES


def test_every_example_is_answered_right() -> None:
    rows = json.loads((EXAMPLES / "questions.json").read_text(encoding="utf-8"))
    answerer = open_answerer(str(EMBEDDED_MODEL), How(threads=1))
    said = [answerer.answer([EXAMPLES / row["picture"]], [], row["question"], 128)[0] for row in rows]
    answerer.close()
    assert len(rows) > 15
    assert said == [row["answer"] for row in rows]
