"""The lines typed in earlier chats, in a file that only its owner can read.

Each line is appended when it is typed, so that several chats at once, or one that is killed, lose nothing.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

MAX_LINES = 1000
OWNER_ONLY = 0o600


class History:
    """A file that can't be read or written is an empty history."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def lines(self) -> list[str]:
        """The latest lines, oldest first. A file of twice as many is cut to these."""
        try:
            lines = self.file.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return []
        latest = lines[-MAX_LINES:]
        if len(lines) > 2 * MAX_LINES:
            self._write("".join(f"{line}\n" for line in latest), os.O_TRUNC)
        return latest

    def add(self, line: str) -> None:
        if line.strip():
            self._write(f"{line}\n", os.O_APPEND)

    def _write(self, text: str, how: int) -> None:
        with suppress(OSError):
            self.file.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.file, os.O_WRONLY | os.O_CREAT | how, OWNER_ONLY)
            with os.fdopen(descriptor, "w", encoding="utf-8", errors="replace") as file:
                os.chmod(self.file, OWNER_ONLY)  # one that was there may have been open to others
                file.write(text)
