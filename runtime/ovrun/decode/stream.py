"""From tokens to text, piece by piece: never half a character, never the beginning of a stop string.

`Detokenizer` knows a decode function, `StopFilter` only text. What they emit, joined, is what decoding everything at
once would give.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

REPLACEMENT = "\ufffd"  # what a byte that is no UTF-8, or not yet, decodes to
HELD_REPLACEMENTS = 3  # an unfinished character is at most three bytes
WINDOW_TOKENS = 64


class Detokenizer:
    """Decodes a growing list of tokens of a byte-level tokenizer, holding back an unfinished character."""

    def __init__(self, decode: Callable[[Sequence[int]], str]) -> None:
        self._decode = decode
        self._window: list[int] = []  # tokens since the last point where no character was open
        self._emitted = 0  # characters of the window that have been given out

    def push(self, token: int) -> str:
        """The text that has become certain with `token`; often empty."""
        self._window.append(token)
        text = self._decode(self._window)
        unfinished = len(text) - len(text.rstrip(REPLACEMENT))
        if not unfinished:
            return self._settle(text)
        certain = len(text) - min(unfinished, HELD_REPLACEMENTS)
        piece = text[self._emitted : certain]
        self._emitted = max(self._emitted, certain)
        if len(self._window) > WINDOW_TOKENS:
            self._shorten(text)
        return piece

    def finish(self) -> str:
        """What is left, an unfinished character as a replacement character."""
        return self._settle(self._decode(self._window))

    def _settle(self, text: str) -> str:
        piece, self._emitted, self._window = text[self._emitted :], 0, []
        return piece

    def _shorten(self, text: str) -> None:
        """Keep endless broken bytes from making every step dearer: cut where no character goes across."""
        for cut in range(len(self._window) - 4, 0, -1):
            head = self._decode(self._window[:cut])
            if len(head) <= self._emitted and head + self._decode(self._window[cut:]) == text:
                self._window, self._emitted = self._window[cut:], self._emitted - len(head)
                return


class StopFilter:
    """Passes text on until a stop string completes; the first to complete wins, and is not passed on.

    The outcome does not depend on how the text is cut into pieces, so a stop string may span tokens.
    """

    def __init__(self, stop_strings: Sequence[str]) -> None:
        self._stops = tuple(stop_strings)
        self._held = ""
        self.stopped = False

    def push(self, piece: str) -> str:
        """The text that is now certain to be part of the answer."""
        if self.stopped:
            return ""
        text = self._held + piece
        if matches := [(start + len(stop), start) for stop in self._stops if (start := text.find(stop)) >= 0]:
            self.stopped, self._held = True, ""
            return text[: min(matches)[1]]
        keep = max((_overlap(text, stop) for stop in self._stops), default=0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def finish(self) -> str:
        """What was held back for a stop string that never came."""
        rest, self._held = self._held, ""
        return rest


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that is a beginning of `stop`, but not all of it."""
    return next((n for n in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:n])), 0)
