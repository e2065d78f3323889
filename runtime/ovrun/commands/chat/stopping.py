"""Ctrl-C that stops an answer and nothing else, at a point where the engine is between two steps."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Any

from ovrun.result import TextStream


class Stopped(Exception):
    """The answer was stopped before its first piece."""


class Stopping:
    """While it is entered, the first Ctrl-C is only noted in `asked`; the second is KeyboardInterrupt as ever."""

    def __init__(self, *, enabled: bool = True) -> None:
        self.asked = False
        self._enabled = enabled
        self._before: Any = None

    def __enter__(self) -> Stopping:
        # Where somebody ignores Ctrl-C, or handles it in a way of their own, that stays.
        plain = signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if self._enabled and plain and threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, kind: type[BaseException] | None, _: object, __: TracebackType | None) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True

    def check(self) -> None:
        """Raises Stopped if Ctrl-C was pressed; called while images are looked at and the prompt is read."""
        if self.asked:
            raise Stopped

    def pieces(self, stream: TextStream) -> Iterator[str]:
        """The pieces until Ctrl-C; the stream is closed then."""
        for piece in stream:
            yield piece
            if self.asked:
                stream.close()
                return
