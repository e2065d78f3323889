"""What came of a command line, and what every refused one has to look like."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ovengines.errors import ExitCode

ERROR = re.compile(r"error: [^\n]+\nhint: [^\n]+\n")


@dataclass(frozen=True, kw_only=True)
class Outcome:
    code: int
    out: str
    err: str

    @property
    def last_line(self) -> str:
        return self.out.splitlines()[-1]


def assert_refused(outcome: Outcome, code: ExitCode, *fragments: str) -> None:
    """The code, one line of error, one of hint, nothing else on stderr and nothing on stdout."""
    assert (outcome.code, outcome.out) == (code, ""), outcome
    assert ERROR.fullmatch(outcome.err), outcome.err
    missing = [fragment for fragment in fragments if fragment not in outcome.err]
    assert not missing, f"{missing} not in {outcome.err}"


def names_in(folder: Path) -> list[str]:
    """Everything in a folder, hidden too; what a build that fails must leave as it was."""
    return sorted(path.name for path in folder.iterdir())
