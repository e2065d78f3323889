"""What every command line of the project shares: wrong usage as an error like any other, and errors as exit codes.

Knows no command; `ovrun.cli` and `ovexport.cli` hand theirs in.
"""

from __future__ import annotations

import argparse
import difflib
import os
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import NoReturn

from ovengines.errors import ExitCode, OVError
from ovrun.terminal import Terminal

ADDRESS = re.compile(r"0x[0-9a-fA-F]{4,}")  # in other people's texts, where it helps only attackers


class CommandParser(argparse.ArgumentParser):
    """Raises OVError (USAGE) where argparse would print its usage and leave."""

    def error(self, message: str) -> NoReturn:
        raise OVError(ExitCode.USAGE, message, f"see {self.prog} --help")


def parse_words(parser: CommandParser, words: Sequence[str]) -> argparse.Namespace:
    """The arguments, which may stand in any order.

    Raises OVError (USAGE), for an unknown option with the one that is most like it.
    """
    # The one that takes files between options knows no "--" before files that look like options.
    args, unknown = (parser.parse_known_args if "--" in words else parser.parse_known_intermixed_args)(words)
    if unknown:
        similar = difflib.get_close_matches(unknown[0].split("=")[0], parser._option_string_actions, n=1)
        hint = f"did you mean {similar[0]}? " if similar else ""
        raise OVError(ExitCode.USAGE, f"unrecognized arguments: {' '.join(unknown)}", f"{hint}see {parser.prog} --help")
    return args


def run_command(command: Callable[[Terminal], None], *, debug: bool = False) -> int:
    """Run a command; returns its exit code and never raises. An error is one line, and a hint another."""
    terminal = Terminal()
    if sys.stdout is None:  # closed by whoever started us
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    try:
        command(terminal)
        return ExitCode.OK
    except SystemExit as end:  # --help, --version
        return int(end.code or 0)
    except BrokenPipeError:  # the reader has had enough, as in `ovrun image.jpg | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or flushing at exit would complain
        return ExitCode.OK
    except BaseException as err:
        if debug:
            terminal.write(traceback.format_exc())
        error = explain(err)
        terminal.note("error", error.message)
        terminal.note("hint", error.hint)
        return error.code


def explain(err: BaseException) -> OVError:
    """Any exception as an error with a code and a hint."""
    if isinstance(err, OVError):
        return err
    for kind, code, message, hint in _FOREIGN:
        if isinstance(err, kind):
            return OVError(code, message.format(err=ADDRESS.sub("0x...", str(err)), kind=type(err).__name__), hint)
    return OVError(ExitCode.UNEXPECTED, type(err).__name__, "run it again with --debug")


_FOREIGN: tuple[tuple[type[BaseException], ExitCode, str, str], ...] = (
    (KeyboardInterrupt, ExitCode.INTERRUPTED, "interrupted", ""),
    (MemoryError, ExitCode.OUT_OF_MEMORY, "out of memory", "use smaller images, or a smaller precision (int4)"),
    (ModuleNotFoundError, ExitCode.MISSING_DEPENDENCY, "{err}", "pip install 'ovexport[cpu]', [export] or [train]"),
    (OSError, ExitCode.UNEXPECTED, "{err}", "check disk space and permissions"),
    (Exception, ExitCode.UNEXPECTED, "unexpected {kind}: {err}", "run it again with --debug and report what it shows"),
)
