"""Many requests, some of them decoded together, as they come: what `Session.batch` and `ovrun batch` run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ovengines.errors import OVError
from ovrun.decode.rows import Row
from ovrun.question import Question
from ovrun.result import Result

if TYPE_CHECKING:
    from ovrun.session import Session

KEEP_TOKENS = 4096  # a picture in all its tiles fits, and a long video does not make every later step dear

Done = tuple[int, "Result | OVError"]


def batch(session: Session, requests: Iterable[Mapping[str, Any]], slots: int) -> Iterator[Done]:
    """See `Session.batch`. Requests are taken as slots become free, so they may be endless."""
    rows = session.rows(slots, keep_tokens=KEEP_TOKENS)
    running: list[tuple[int, Question, Row]] = []
    waiting = enumerate(requests)
    while True:
        while rows.has_room and (taken := next(waiting, None)) is not None:
            number, request = taken
            try:
                question = session.question(**request)
                row = session.row(question)
                rows.add(row)
            except OVError as error:
                yield number, error
                continue
            running.append((number, question, row))
        if not running:
            return
        rows.step()
        for number, question, row in [entry for entry in running if entry[2].is_done]:
            yield number, row.error or session.result(question, row)
        running = [entry for entry in running if not entry[2].is_done]
