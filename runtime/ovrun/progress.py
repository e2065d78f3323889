"""How long work says how far it is: one kind of function for all of it. What the function raises ends the work."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")

Progress = Callable[[str, int, int], None]  # (what is being done, done, of)


def no_progress(label: str, done: int, total: int) -> None:
    """For nobody who wants to know."""


def told(items: Sequence[T], label: str, on_progress: Progress) -> Iterator[T]:
    """The items; `on_progress` hears of each when the work with it is done."""
    for done, item in enumerate(items, 1):
        yield item
        on_progress(label, done, len(items))
