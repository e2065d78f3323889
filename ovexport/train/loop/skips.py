"""Broken samples: each is listed once in skipped.jsonl and counted; training goes on without them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

from ovexport.train.data.dataset import Skipped
from ovexport.train.loop.parallel import Processes
from ovrun.log import logger

FILE, FILES = "skipped.jsonl", "skipped*.jsonl"


class SkipList:
    """A context manager. Each process lists what it met in a file of its own (skipped.1.jsonl for the second).

    The first one says at the end how many all files hold.
    """

    def __init__(self, out: Path, processes: Processes) -> None:
        self._processes = processes
        self._path = out / (FILE if processes.is_first else f"skipped.{processes.rank}.jsonl")
        self._seen = _lines(self._path) if self._path.is_file() else set()

    def __enter__(self) -> SkipList:
        self._file = self._path.open("a", encoding="utf-8")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._file.close()
        if not self._seen:
            self._path.unlink()
        if self._processes.is_first:
            _tell(self._path.parent)

    def add(self, skipped: Iterable[Skipped]) -> int:
        """List those that are new; returns how many there are in all."""
        for skip in skipped:
            line = json.dumps(dataclasses.asdict(skip), default=str)
            if line not in self._seen:
                self._seen.add(line)
                self._file.write(line + "\n")
                self._file.flush()
        return len(self._seen)


def _tell(out: Path) -> None:
    files = sorted(out.glob(FILES))
    count = len(set().union(*(_lines(file) for file in files)))
    if count:
        names = files[0] if len(files) == 1 else out / FILES
        logger.warning("broken samples that were left out: %d, listed in %s", count, names)


def _lines(path: Path) -> set[str]:
    return set(path.read_text(encoding="utf-8").splitlines())
