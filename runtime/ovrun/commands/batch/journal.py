"""The lines of a batch: appended to a file as they come, and found there again by the next run of the same command.

A last line that was cut off is taken away. The file holds answers and nothing else. Knows no session.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from ovengines.errors import ExitCode, OVError
from ovengines.replacement import FULL

if TYPE_CHECKING:
    from ovrun.commands.batch.requests import Request

_START = b'{"id": '  # of every line


@dataclass(frozen=True, kw_only=True)
class Journal:
    """`answered` and `failed` are the ids among the requests that have a line, of this run or an earlier one."""

    file: IO[bytes]
    answered: set[str] = field(default_factory=set)
    failed: set[str] = field(default_factory=set)

    def write(self, record: Mapping[str, Any]) -> None:
        """One line, whole and at once; `record` begins with its id."""
        try:
            line = json.dumps(record, ensure_ascii=False).encode()
        except UnicodeEncodeError:  # the name of a file may be anything
            line = json.dumps(record).encode()
        _write(self.file, line + b"\n")
        self.note(record)

    def note(self, record: Mapping[str, Any]) -> None:
        (self.failed if "error" in record else self.answered).add(str(record["id"]))


@contextmanager
def open_journal(path: Path | None, requests: Sequence[Request], *, retry_errors: bool) -> Iterator[Journal]:
    """The journal in a file, or on stdout. `retry_errors` first takes the errors of `requests` out of the file.

    Raises OVError: USAGE for a file of something else or of other questions with the same ids, before it is changed,
    and for one that another run writes to; LIMIT_EXCEEDED for a full disk.
    """
    if path is None:
        yield Journal(file=sys.stdout.buffer)
        return
    with _opened(path) as file:
        journal, end = _read(file, path, {request.id: request for request in requests})
        if not (retry_errors and journal.failed):
            file.truncate(end)
            yield journal
            return
        _leave_out(journal.failed, path, end)
    with open_journal(path, requests, retry_errors=False) as journal:
        yield journal


def _opened(path: Path) -> IO[bytes]:
    """The file to append to, unbuffered, so that what can't be written is not tried again at its closing."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("ab", buffering=0)
    except (OSError, ValueError) as err:  # ValueError: a null character in the path
        reason = getattr(err, "strerror", None) or "not a usable path"
        raise OVError(ExitCode.USAGE, f"{path} can't be written: {reason}", "choose another place") from err
    if not _lock(file):
        file.close()
        raise OVError(ExitCode.USAGE, f"another run writes to {path}", "wait for it, or name another file")
    return file


def _lock(file: IO[bytes]) -> bool:
    """Whether the file is ours alone, until the process ends, however it ends."""
    try:
        import fcntl
    except ImportError:  # not on Windows
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _write(file: IO[bytes], line: bytes) -> None:
    try:
        while line:
            line = line[file.write(line) :]
        file.flush()
    except OSError as err:
        if err.errno not in FULL:
            raise
        hint = "make room and run the same command again: it goes on"
        raise OVError(ExitCode.LIMIT_EXCEEDED, f"the disk is full ({err.strerror})", hint) from err


def _read(file: IO[bytes], path: Path, requests: Mapping[str, Request]) -> tuple[Journal, int]:
    """What the file says about these requests, and where its whole lines end."""
    journal, end = Journal(file=file), 0
    for number, line in enumerate(_lines(path), start=1):
        if not line.endswith(b"\n") and line[: len(_START)] == _START[: len(line)]:
            break  # cut off
        record = _record(line, f"{path}, line {number}")
        end += len(line)
        request = requests.get(str(record["id"]))
        if request is None:
            continue
        if any(record.get(key) != value for key, value in request.about.items()):
            raise OVError(
                ExitCode.USAGE,
                f'{path}, line {number} answers another question with the id "{request.id}"',
                "name another file",
            )
        journal.note(record)
    return journal, end


def _record(line: bytes, where: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        record = None
    if not isinstance(record, dict) or "id" not in record or not ("text" in record or "error" in record):
        raise OVError(ExitCode.USAGE, f"{where} was not written by ovrun batch", "name another file")
    return record


def _lines(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        yield from file


def _leave_out(ids: Container[str], path: Path, end: int) -> None:
    """Replace the file by its first `end` bytes without the errors of these ids."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb", buffering=0) as kept:
            for line in _lines(path):
                end -= len(line)
                if end < 0:
                    break
                record = json.loads(line)
                if not ("error" in record and str(record["id"]) in ids):
                    _write(kept, line)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
