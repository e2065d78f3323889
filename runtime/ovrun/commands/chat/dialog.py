"""The conversation as it is led: turns go to a Chat, commands to orders.py, and nothing that fails ends it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from ovengines.errors import ExitCode, OVError
from ovrun.command import explain
from ovrun.commands.chat.attached import Attached
from ovrun.commands.chat.lines import Lines
from ovrun.commands.chat.orders import obey
from ovrun.commands.chat.stopping import Stopped, Stopping
from ovrun.commands.output import format_stats, print_pieces
from ovrun.terminal import Terminal

if TYPE_CHECKING:
    from ovrun.chat import Chat
    from ovrun.result import Result, TextStream
    from ovrun.session import Session

PROMPT = "> "


class Dialog:
    """`open_chat` makes an empty chat; `json` prints results in place of their texts, `stats` what they cost."""

    def __init__(
        self,
        session: Session,
        open_chat: Callable[[], Chat],
        attached: Attached,
        lines: Lines,
        terminal: Terminal,
        *,
        json: bool,
        stats: bool,
    ) -> None:
        self.session, self.chat = session, open_chat()
        self.attached, self.terminal = attached, terminal
        self.last: Result | None = None  # of the last answer that came to its end
        self.over = False
        self.num_failed = 0
        self._open_chat, self._lines, self._json, self._stats = open_chat, lines, json, stats
        self._warned: set[str] = set()

    def run(self, first: str | None) -> None:
        """Lead the conversation to its end; `first` is asked before anything is read. KeyboardInterrupt leaves."""
        if first is not None:
            self._take(self.ask, first)
        while not self.over:
            try:
                text = self._lines.read(f"[{self.attached}] {PROMPT}" if self.attached else PROMPT)
            except EOFError:
                return
            if text.startswith("/") and not text.startswith("//"):
                self._take(lambda order: obey(self, order), text)
            elif text.strip():
                self._take(self.ask, text.removeprefix("/"))

    def tell(self, text: str) -> None:
        """A line beside the answers, for somebody who is there to read it."""
        if self._lines.typed and not self.terminal.quiet:
            self.terminal.write(f"{text}\n")

    def ask(self, prompt: str) -> None:
        """One turn with what is attached. One that fails leaves the history as it was, and attaches nothing."""
        before, images, video = list(self.chat.messages), list(self.attached.images), self.attached.video
        self.attached.clear()
        try:
            with Stopping(enabled=self._lines.typed) as stopping:

                def progress(label: str, done: int, total: int) -> None:
                    stopping.check()
                    self.terminal.progress(label, done, total)

                stream = self.chat.ask(prompt, images, video, stream=True, on_progress=progress)
                result = self._show(stream, stopping)
        except Stopped:
            self.chat.messages[:] = before
            self.tell("stopped before the answer: the question is not kept")
        except BaseException as err:
            if not isinstance(err, OVError):  # what the engine holds may be half of something
                self.chat = self._open_chat()
            self.chat.messages[:] = before
            raise
        else:
            self._close(result)

    def _show(self, stream: TextStream, stopping: Stopping) -> Result | None:
        """Print the answer; None if it was stopped."""
        pieces = stopping.pieces(stream)
        if self._json:
            deque(pieces, maxlen=0)
        else:
            print_pieces(pieces)
        if stopping.asked:
            return None
        if self._json:
            print(stream.result.to_json(), flush=True)
        return stream.result

    def _close(self, result: Result | None) -> None:
        """What is said after an answer."""
        if result is None:
            self.tell("stopped")
            return
        self.last = result
        for warning in result.warnings:
            if warning not in self._warned:  # an option is the same in every turn
                self.terminal.note("warning", warning)
        self._warned.update(result.warnings)
        if self._stats:
            self.terminal.write(format_stats(result))

    def _take(self, act: Callable[[str], None], text: str) -> None:
        """Do it, and say what went wrong with it."""
        had_media = bool(self.attached)
        try:
            act(text)
        except KeyboardInterrupt:
            if not self._lines.typed:
                raise
            self.tell("stopped")
        except (OVError, MemoryError) as err:
            self.num_failed += 1
            error = explain(err)
            room = "; /undo and /clear make room" if error.code is ExitCode.LIMIT_EXCEEDED else ""
            dropped = "; nothing is attached any more" if had_media and not self.attached else ""
            self.terminal.note("error", error.message)
            self.terminal.note("hint", f"{error.hint}{room}{dropped}")
