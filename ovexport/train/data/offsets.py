"""Where the records of a file are: byte ranges, found in one pass, so that no more than one is ever held parsed.

Knows JSON lists and JSONL; nothing of what a record means. Legend: R records, 2 first byte and byte after the last.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ovengines.errors import ExitCode, OVError

_CHUNK_BYTES = 4 << 20
_BETWEEN = re.compile(r"[\s,]*")
_AFTER = re.compile(r"\s*[,\]]")
_OPENING = re.compile(r"(\xef\xbb\xbf)?\s*\[")
# Bytes are read as Latin-1, so that a character is a byte; strings come out wrong, but end where they end.
_ENCODING = "latin-1"


def record_spans(path: Path) -> NDArray[np.int64]:
    """spans_R2 of the lines of a .jsonl file, or of the elements of a JSON list.

    Raises OVError (BAD_INPUT) for a file that can't be read, or that is no JSON list.
    """
    find = _line_spans if path.suffix == ".jsonl" else _element_spans
    try:
        flat = np.fromiter(chain.from_iterable(find(path)), dtype=np.int64)
    except OSError as err:
        raise OVError(ExitCode.BAD_INPUT, f"{path} can't be read: {err.strerror}", "check the path") from err
    return flat.reshape(-1, 2)


def _line_spans(path: Path) -> Iterator[tuple[int, int]]:
    start = 0
    with path.open("rb") as file:
        for line in file:
            if line.strip():
                yield start, start + len(line)
            start += len(line)


def _element_spans(path: Path) -> Iterator[tuple[int, int]]:
    scan = json.JSONDecoder(strict=False).raw_decode
    with path.open("rb") as file:
        text, text_start = file.read(_CHUNK_BYTES).decode(_ENCODING), 0
        opening = _OPENING.match(text)
        if opening is None:
            raise OVError(
                ExitCode.BAD_INPUT,
                f"{path} is not a list of records",
                "give a JSON list, or one record a line as .jsonl",
            )
        at = opening.end()
        while True:
            at = _BETWEEN.match(text, at).end()  # type: ignore[union-attr]  # it matches nothing, too
            if text[at : at + 1] == "]":
                return
            end = _end(scan, text, at)
            if end is not None:
                yield text_start + at, text_start + end
                at = end
                continue
            # Twice as much each time, so that one long record does not take the square of its length.
            more = file.read(max(_CHUNK_BYTES, len(text) - at))
            if not more:
                raise OVError(
                    ExitCode.BAD_INPUT, f"{path} is not valid JSON at byte {text_start + at:,}", "get the file again"
                )
            text, text_start, at = text[at:] + more.decode(_ENCODING), text_start + at, 0


def _end(scan, text: str, at: int) -> int | None:  # type: ignore[no-untyped-def]
    """Where the element at `at` ends; None if it is cut off by the end of the text, or is broken."""
    try:
        end: int = scan(text, at)[1]
    except (json.JSONDecodeError, RecursionError):
        return None
    return end if _AFTER.match(text, end) else None
