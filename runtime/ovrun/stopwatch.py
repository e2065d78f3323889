"""Time spent per stage of one answer, summed over the pieces of work that belong to it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")


class Stopwatch:
    """`spent_ms` by stage. Time between pieces of work, such as that of a slow reader of a stream, is not counted."""

    def __init__(self) -> None:
        self.spent_ms: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start_s = time.perf_counter()
        try:
            yield
        finally:
            self.spent_ms[name] = self[name] + (time.perf_counter() - start_s) * 1e3

    def each(self, name: str, items: Iterable[T]) -> Iterator[T]:
        """The items, the time to make each of them counted."""
        iterator = iter(items)
        while True:
            with self.stage(name):
                item = next(iterator, _END)
            if item is _END:
                return
            yield item  # type: ignore[misc]

    def total_ms(self) -> float:
        return sum(self.spent_ms.values())

    def __getitem__(self, name: str) -> float:
        return self.spent_ms.get(name, 0.0)


_END = object()
