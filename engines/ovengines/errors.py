"""The one error type of all four packages, and the exit code that each kind of error has.

It lives in the package that stands on the ground, so that runtime and exporter raise the same thing.
"""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """What the command lines exit with; documented in the README and fixed by tests."""

    OK = 0
    UNEXPECTED = 1
    USAGE = 2
    BAD_INPUT = 3
    LIMIT_EXCEEDED = 4
    BUNDLE_INVALID = 5
    MISSING_DEPENDENCY = 6
    OUT_OF_MEMORY = 7
    PARITY_FAILED = 8
    INTERRUPTED = 130


class OVError(Exception):
    """An error that the user can act on: what happened (`message`) and what to do about it (`hint`)."""

    def __init__(self, code: ExitCode, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message
