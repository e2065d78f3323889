"""The three levels by which the paper sorts its data (vision input, instruction, response), as a table.

Says which value of each level a record has. Knows records, no files and no mixtures.
"""

from __future__ import annotations

from collections.abc import Iterable

from ovexport.train.data.records import LEVELS, Record

VALUES: dict[str, tuple[str, ...]] = {
    "vision_input": ("single-image", "multi-image", "video", "text"),
    "instruction": ("General", "General OCR", "Doc/Chart/Screen", "Math/Reasoning", "Language"),
    "response": ("free-form", "fixed-form"),
}
NOT_STATED = "not stated"
_VISION_INPUT_OF = {"text": "text", "image": "single-image", "multi-image": "multi-image", "video": "video"}


def levels_of(record: Record) -> dict[str, str]:
    """Of each level the record's own value (a mixture fills in its entry's), else what its media say."""
    derived = {"vision_input": _VISION_INPUT_OF[record.modality]}
    return {level: getattr(record, level) or derived.get(level, NOT_STATED) for level in LEVELS}


def in_order(level: str, values: Iterable[str]) -> list[str]:
    """The paper's values in its order, then unknown ones by name, then "not stated"."""
    known = {value: place for place, value in enumerate(VALUES[level])}
    last = len(known) + 1
    return sorted(set(values), key=lambda value: (last if value == NOT_STATED else known.get(value, last - 1), value))
