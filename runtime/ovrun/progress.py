"""How long work says how far it is: one kind of function for all of it."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, int], None]  # (what is being done, done, of)


def no_progress(label: str, done: int, total: int) -> None:
    """For nobody who wants to know."""
