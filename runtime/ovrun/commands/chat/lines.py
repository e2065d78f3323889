"""Where the lines of a chat come from: typed at a terminal, with editing where Python has readline, or a script.

A backslash at the end of a line continues it on the next. Knows no commands and no session.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from types import ModuleType
from typing import Protocol

from ovrun.commands.chat.completion import DELIMITERS
from ovrun.commands.chat.history import History
from ovrun.terminal import Terminal

CONTINUED = ". "
LEAVING = "Ctrl-C again, Ctrl-D or /quit leaves"


class Lines(Protocol):
    typed: bool  # by somebody who reads what is said meanwhile

    def read(self, prompt: str) -> str:
        """The next turn. Raises EOFError after the last one, KeyboardInterrupt for Ctrl-C where that means to leave."""


class ScriptLines:
    """Lines of a file or a pipe; prompts are not shown."""

    typed = False

    def __init__(self) -> None:
        with suppress(AttributeError):  # a stdin of another kind
            # What is not text is then refused like any other bad input, not here.
            sys.stdin.reconfigure(errors="surrogateescape")  # type: ignore[union-attr]

    def read(self, prompt: str) -> str:
        return _joined(lambda _: _plain_line(), prompt)


class TypedLines:
    """Lines of a person. Ctrl-C drops what is typed; twice where nothing is, it is KeyboardInterrupt."""

    typed = True

    def __init__(self, terminal: Terminal, history: History, complete: Callable[[str], list[str]]) -> None:
        self._terminal, self._history = terminal, history
        self._readline = _readline(history, complete) if sys.stdout.isatty() else None

    def read(self, prompt: str) -> str:
        warned = False
        while True:
            try:
                return _joined(self._line, prompt)
            except KeyboardInterrupt:
                dropped = self._readline.get_line_buffer() if self._readline else ""
                self._terminal.write("\n")
                if warned and not dropped:
                    raise
                warned = not dropped
                self._terminal.write(f"{LEAVING}\n" if warned else "")
            except EOFError:
                self._terminal.write("\n")
                raise

    def _line(self, prompt: str) -> str:
        if self._readline:
            line = input(prompt)
        else:  # `input` would write the prompt among the answers
            self._terminal.write(prompt)
            line = _plain_line()
        self._history.add(line)
        return line


def _plain_line() -> str:
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line.rstrip("\r\n")


def _joined(line_after: Callable[[str], str], prompt: str) -> str:
    text = line_after(prompt)
    while (len(text) - len(text.rstrip("\\"))) % 2:  # an even number of them is meant as such
        text = text[:-1] + "\n"
        try:
            text += line_after(CONTINUED)
        except EOFError:
            break
    return text


def _readline(history: History, complete: Callable[[str], list[str]]) -> ModuleType | None:
    try:
        import readline
    except ImportError:  # not on Windows
        return None
    for line in history.lines():
        readline.add_history(line)
    found: list[str] = []

    def choose(_: str, number: int) -> str | None:
        if number == 0:
            found[:] = complete(readline.get_line_buffer()[: readline.get_endidx()])
        return found[number] if number < len(found) else None

    readline.set_completer_delims(DELIMITERS)
    readline.set_completer(choose)
    is_libedit = "libedit" in (readline.__doc__ or "")
    readline.parse_and_bind("bind ^I rl_complete" if is_libedit else "tab: complete")
    return readline
