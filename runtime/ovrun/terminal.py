"""What goes to the terminal beside the answer: warnings, errors, progress and statistics, all on stderr.

Progress is drawn on terminals only; colour also needs NO_COLOR to be unset. Knows nothing of images or models.
"""

from __future__ import annotations

import os
import sys
import time
import unicodedata

REDRAW_S = 0.1
COLOURS = {"error": "31", "warning": "33", "hint": "36"}


class Terminal:
    """stderr of one command."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet
        self._drawn = 0  # characters of the progress line that is showing
        self._drawn_at_s = 0.0

    @property
    def is_terminal(self) -> bool:
        return sys.stderr is not None and sys.stderr.isatty()

    @property
    def has_colour(self) -> bool:
        return self.is_terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"

    def note(self, kind: str, text: str) -> None:
        """One line `kind: text`; -q leaves only errors and their hints."""
        if not text or (self.quiet and kind == "warning"):
            return
        colour = COLOURS[kind] if self.has_colour else ""
        label = f"\x1b[{colour}m{kind}:\x1b[0m" if colour else f"{kind}:"
        self.write(f"{label} {one_line(text)}\n")

    def write(self, text: str) -> None:
        if sys.stderr is None:  # closed by whoever started us; print would take stdout instead
            return
        self.clear()
        print(text, end="", file=sys.stderr, flush=True)

    def progress(self, label: str, done: int, total: int) -> None:
        """Redraw the progress line; it goes away when all is done."""
        if self.quiet or not self.is_terminal:
            return
        now_s = time.monotonic()
        if done < total and self._drawn and now_s - self._drawn_at_s < REDRAW_S:
            return
        self.clear()
        if done >= total:
            return
        line = f"{one_line(label)} {100 * done // total}%"
        print(f"\r{line}", end="", file=sys.stderr, flush=True)
        self._drawn, self._drawn_at_s = len(line), now_s

    def clear(self) -> None:
        if self._drawn:
            print("\r" + " " * self._drawn + "\r", end="", file=sys.stderr, flush=True)
            self._drawn = 0


def one_line(text: str) -> str:
    """Text from anywhere made fit for one line of a terminal: no control characters."""
    return printable(" ".join(text.split()), keep="")


def printable(text: str, keep: str = "\n\t") -> str:
    """Text without control characters: an answer could be talked into sending some to the terminal."""
    return "".join("?" if unicodedata.category(c) == "Cc" and c not in keep else c for c in text)
