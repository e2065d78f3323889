"""A user's own set of questions: a JSON list or JSONL of entries, each of any form that `entries` knows.

What can't be read is left out, counted and listed. Knows files; what an entry means is in `entries`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from ovengines.errors import ExitCode, OVError
from ovexport.evaluate.entries import BadEntry, Place, entry_id, entry_question, record_questions
from ovexport.evaluate.question import LeftOut, Question, Suite
from ovexport.train.data.offsets import record_spans
from ovexport.train.data.records import BadRecord, RecordFile

SUFFIXES = (".json", ".jsonl")


def read_suite(path: Path) -> Suite:
    """The questions of a file, in its order; media are looked for from its folder on.

    Raises OVError (BAD_INPUT) for a file that is no list of entries, or that has no question that can be asked.
    """
    questions: list[Question] = []
    left_out: list[LeftOut] = []
    records = RecordFile(path)
    for number, (start, end) in enumerate(record_spans(path).tolist()):
        entry_name = f"entry {number}"
        try:
            entry = _parsed(path, start, end)
            entry_name = entry_id(entry, number)
            place = Place(folder=path.parent, family=path.stem, number=number)
            if "conversations" in entry:
                questions += record_questions(records[number], place)
            else:
                questions.append(entry_question(entry, place))
        except (BadEntry, BadRecord) as err:
            left_out.append(LeftOut(entry=entry_name, reason=str(err)))
    if not questions:
        first = f": {left_out[0].entry}: {left_out[0].reason}" if left_out else ""
        raise OVError(
            ExitCode.BAD_INPUT,
            f"{path} has no question that can be asked, of {len(left_out)} entries{first}",
            'entries are {"question", "answer", "image"}, the same with "options", or LLaVA conversations',
        )
    return Suite(name=path.name, questions=tuple(questions), left_out=tuple(left_out))


def _parsed(path: Path, start: int, end: int) -> Mapping[str, object]:
    try:
        with path.open("rb") as file:
            file.seek(start)
            entry = json.loads(file.read(end - start))
    except (ValueError, RecursionError) as err:
        raise BadEntry(f"not valid JSON: {err}") from err
    if not isinstance(entry, dict):
        raise BadEntry(f"{str(entry)[:60]!r} is not an object")
    return entry
