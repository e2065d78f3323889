"""`ovexport COMMAND`: parsing and dispatch; what a command does is in the module of its name under commands/.

stdout carries the result, stderr progress and errors. Nothing heavy is imported before the arguments are known good.
"""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Sequence
from typing import Protocol

import ovexport
from ovengines.errors import ExitCode, OVError
from ovexport.commands import build, data, doctor, eval, inspect, train, verify
from ovrun.command import CommandParser, run_command
from ovrun.log import show_log
from ovrun.terminal import Terminal

EPILOG = """\
exit codes: 0 ok, 1 unexpected, 2 usage, 3 bad input, 4 limit exceeded, 5 bundle invalid, 6 missing dependency,
7 out of memory, 8 parity failed, 130 interrupted.
"""


class Command(Protocol):
    """What a module under commands/ has."""

    SUMMARY: str

    def arguments(self, parser: argparse.ArgumentParser) -> None: ...

    def run(self, args: argparse.Namespace, terminal: Terminal) -> None: ...


COMMANDS: dict[str, Command] = {
    "build": build,
    "verify": verify,
    "inspect": inspect,
    "train": train,
    "data": data,
    "eval": eval,
    "doctor": doctor,
}


def parser() -> argparse.ArgumentParser:
    top = CommandParser(
        prog="ovexport",
        description="LLaVA-OneVision checkpoints become ONNX bundles for `ovrun`.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    top.add_argument("--version", action="version", version=f"ovexport {ovexport.__version__}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, module in COMMANDS.items():
        command = commands.add_parser(name, help=module.SUMMARY, description=module.SUMMARY, allow_abbrev=False)
        module.arguments(command)
        command.add_argument("-q", "--quiet", action="store_true", help="no progress")
        command.add_argument("--debug", action="store_true", help="show the traceback of an error")
        command.set_defaults(run=module.run, options=tuple(command._option_string_actions))
    return top


def parse(words: Sequence[str]) -> argparse.Namespace:
    """The arguments; raises OVError (USAGE), for an unknown option with the one that is most like it."""
    args, unknown = parser().parse_known_args(words)
    if unknown:
        similar = difflib.get_close_matches(unknown[0].split("=")[0], args.options, n=1)
        hint = f"did you mean {similar[0]}? " if similar else ""
        raise OVError(
            ExitCode.USAGE,
            f"unrecognized arguments: {' '.join(unknown)}",
            f"{hint}see ovexport {args.command} --help",
        )
    return args


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line; returns the exit code and never raises."""
    words = list(sys.argv[1:] if argv is None else argv)

    def command(terminal: Terminal) -> None:
        args = parse(words)
        terminal.quiet = args.quiet
        show_log(-1 if args.quiet else 0)
        args.run(args, terminal)

    return run_command(command, debug="--debug" in words)


if __name__ == "__main__":
    sys.exit(main())
