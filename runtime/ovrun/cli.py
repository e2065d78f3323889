"""`ovrun`: parsing and dispatch; what a command does is in the module or package of its name under commands/.

stdout carries answers, stderr everything else. Nothing heavy is imported before the arguments are known good.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from typing import Any, Protocol

from ovrun.command import CommandParser, parse_words, run_command
from ovrun.commands import answer, doctor
from ovrun.commands.batch import command as batch
from ovrun.commands.bench import command as bench
from ovrun.commands.chat import command as chat
from ovrun.server import command as serve
from ovrun.terminal import Terminal

EXIT_CODES = """\
exit codes: 0 ok, 1 unexpected, 2 usage, 3 bad input, 4 limit exceeded, 5 bundle invalid, 6 missing dependency or
device, 7 out of memory, 130 interrupted. Limits are raised with the environment variables that their errors name.
"""


class Command(Protocol):
    """What a module of a command has. `SUMMARY` is a sentence without its full stop."""

    SUMMARY: str
    USAGE: str

    def arguments(self, parser: argparse.ArgumentParser) -> None: ...

    def run(self, args: argparse.Namespace, terminal: Terminal) -> None: ...


DEFAULT_COMMAND = ""  # what runs when the first word names no other
COMMANDS: dict[str, Command] = {
    DEFAULT_COMMAND: answer,
    "chat": chat,
    "batch": batch,
    "serve": serve,
    "bench": bench,
    "doctor": doctor,
}


class _Version(argparse.Action):
    """Looks the version up only when asked for: it takes longer than parsing."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from importlib.metadata import version

        print(f"ovrun {version('ovexport')}")
        parser.exit()


class _CppPath(argparse.Action):
    """Prints what `ovrun.cpp_paths` says under the option's name."""

    def __call__(self, parser: argparse.ArgumentParser, _: Any, __: Any, flag: str | None = None) -> None:
        from ovrun import cpp_paths

        print(getattr(cpp_paths, str(flag).strip("-").replace("-", "_"))())
        parser.exit()


def parser_of(name: str = DEFAULT_COMMAND) -> CommandParser:
    """The parser of a command; the default one also lists the others."""
    command = COMMANDS[name]
    others = "".join(f"  ovrun {other:<20}{COMMANDS[other].SUMMARY}\n" for other in COMMANDS if other)
    parser = CommandParser(
        prog=f"ovrun {name}".strip(),
        usage=command.USAGE,
        description=f"{command.SUMMARY[0].upper()}{command.SUMMARY[1:]}.",
        epilog=EXIT_CODES if name else f"other commands:\n{others}\n{EXIT_CODES}",
        formatter_class=partial(argparse.RawDescriptionHelpFormatter, max_help_position=30),
        allow_abbrev=False,
    )
    command.arguments(parser)
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    if name == DEFAULT_COMMAND:
        flags = ("--cmake-dir", "--includes", "--libs")
        parser.add_argument(*flags, action=_CppPath, nargs=0, help="print it for the build of a C++ program, and exit")
    return parser


def parse(words: Sequence[str]) -> tuple[Command, argparse.Namespace]:
    """The command and its arguments. Raises OVError as `parse_words`."""
    named = bool(words) and words[0] != DEFAULT_COMMAND and words[0] in COMMANDS
    name = words[0] if named else DEFAULT_COMMAND
    return COMMANDS[name], parse_words(parser_of(name), words[1:] if named else words)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line; returns the exit code and never raises."""
    words = list(sys.argv[1:] if argv is None else argv)

    def run(terminal: Terminal) -> None:
        command, args = parse(words)
        from ovrun.log import show_log

        terminal.quiet = args.quiet
        show_log(-1 if args.quiet else args.verbose)
        command.run(args, terminal)

    return run_command(run, debug="--debug" in words)


if __name__ == "__main__":
    sys.exit(main())
