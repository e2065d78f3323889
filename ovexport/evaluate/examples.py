"""The questions of `examples/` as a suite: pictures, several pictures or a clip, with the one right answer.

Knows the form of questions.json, not how it came to be (`ovexport.train.drawn.examples`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ovexport.evaluate.question import Question, Suite


def example_suite(path: Path) -> Suite:
    """The questions of a file in its order; `id` is the first of their files. Only the very words are right."""
    entries = json.loads(path.read_text(encoding="utf-8"))
    return Suite(name=path.parent.name, questions=tuple(_question(entry, path.parent) for entry in entries))


def _question(entry: Mapping[str, Any], folder: Path) -> Question:
    pictures = entry.get("pictures") or ([entry["picture"]] if "picture" in entry else [])
    return Question(
        id=entry.get("video") or pictures[0],
        family=entry["family"],
        prompt=entry["question"],
        answers=(entry["answer"],),
        scorer="exact",
        images=tuple(folder / name for name in pictures),
        video=folder / entry["video"] if "video" in entry else None,
    )
