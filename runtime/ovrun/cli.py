"""`ovrun IMAGE...`: the command line of the runtime. stdout carries the answer, stderr everything else.

Parses, calls a Session and prints; knows nothing of how an answer is made.
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ovengines.errors import ExitCode, OVError
from ovrun.command import CommandParser, run_command
from ovrun.terminal import Terminal, printable

if TYPE_CHECKING:
    from ovrun.result import Result
    from ovrun.session import Session

EPILOG = """\
exit codes: 0 ok, 1 unexpected, 2 usage, 3 bad input, 4 limit exceeded, 5 bundle invalid, 6 missing dependency or
device, 7 out of memory, 130 interrupted. Limits are raised with the environment variables that their errors name.
"""


class _Version(argparse.Action):
    """Looks the version up only when asked for: it takes longer than parsing."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from importlib.metadata import version

        print(f"ovrun {version('ovexport')}")
        parser.exit()


def answer_parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        prog="ovrun",
        description="Answer a question about images with a bundle made by `ovexport build`.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("images", nargs="*", metavar="IMAGE", help="image files; - reads one from stdin")
    add("-p", "--prompt", help="the question; <image> in it places an image (default: Describe this image.)")
    add("-m", "--model", metavar="BUNDLE", help="folder, or name in $OV_HOME/bundles (default: the newest one there)")
    add("--system", metavar="TEXT", help='system turn (default: that of training; "" leaves it out)')
    add(
        "--max-tiles",
        type=int,
        metavar="N",
        help="cut the image into at most N tiles beside the view of the whole: faster, sees less detail",
    )
    decoding = parser.add_argument_group("decoding (names as in transformers)").add_argument
    decoding("--max-new-tokens", type=int, metavar="N", help="longest answer (default: 512)")
    decoding("--max-tokens", type=int, dest="max_new_tokens", help=argparse.SUPPRESS)
    decoding("--temperature", type=float, metavar="T", help="0, the default, is greedy and repeatable")
    decoding("--top-p", type=float, metavar="P", help="sample from the likeliest tokens that make up P")
    decoding("--top-k", type=int, metavar="K", help="sample from the K likeliest tokens")
    decoding("--repetition-penalty", type=float, metavar="R", help="above 1 makes tokens seen before less likely")
    decoding("--stop", action="append", dest="stop_strings", metavar="TEXT", help="end before TEXT; repeatable")
    decoding("--seed", type=int, metavar="S", help="makes sampling repeatable")
    machine = parser.add_argument_group("machine").add_argument
    machine("--device", default="auto", metavar="{auto,cpu,cuda,tensorrt}", help="where to run (default: auto)")
    machine("--threads", type=int, metavar="N", help="CPU threads (default: all cores)")
    output = parser.add_argument_group("output").add_argument
    output("--json", action="store_true", help="print one JSON object: answer, token counts, timings, versions")
    output("--stats", action="store_true", help="print token counts and timings to stderr")
    output("-q", "--quiet", action="store_true", help="no progress, no warnings")
    output("-v", "--verbose", action="count", default=0, help="say what is being done; twice for more")
    output("--debug", action="store_true", help="show the traceback of an error")
    output("--version", action=_Version, nargs=0, help="print the version and exit")
    return parser


OPTION_NAMES = (
    "max_new_tokens",
    "temperature",
    "top_p",
    "top_k",
    "repetition_penalty",
    "stop_strings",
    "seed",
)


def answer(argv: Sequence[str], terminal: Terminal) -> None:
    """The command itself. Raises OVError for everything that the user can mend."""
    args = answer_parser().parse_args(argv)
    terminal.quiet = args.quiet
    if not args.images and args.prompt is None:
        raise OVError(ExitCode.USAGE, "no image given", "try: ovrun image.jpg")
    from ovengines.home import find_bundle, newest_bundle
    from ovrun.log import show_log
    from ovrun.session import DEFAULT_PROMPT, Session

    show_log(-1 if args.quiet else args.verbose)
    options = {name: value for name in OPTION_NAMES if (value := getattr(args, name)) is not None}
    images = [_read_stdin() if name == "-" else name for name in args.images]
    bundle = find_bundle(args.model) if args.model else newest_bundle()
    with Session.open(bundle, args.device, args.threads, terminal.progress) as session:
        request = {
            "prompt": DEFAULT_PROMPT if args.prompt is None else args.prompt,
            "images": images,
            "system": args.system,
            "max_tiles": args.max_tiles,
            "on_progress": terminal.progress,
            **options,
        }
        _set_encoding(json=args.json)
        result = _print_json(session, request) if args.json else _print_stream(session, request)
    for warning in result.warnings:
        terminal.note("warning", warning)
    if args.stats:
        terminal.write(format_stats(result))


def _set_encoding(*, json: bool) -> None:
    """JSON is UTF-8 whatever the locale (RFC 8259); of text, a terminal shows what it can."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8" if json else None, errors="strict" if json else "replace")


def _print_json(session: Session, request: dict[str, Any]) -> Result:
    result = session.generate(**request)
    print(result.to_json(), flush=True)
    return result


def _print_stream(session: Session, request: dict[str, Any]) -> Result:
    stream = session.generate(**request, stream=True)
    on_terminal = sys.stdout.isatty()
    last, finished = "", False
    try:
        for piece in stream:
            print(printable(piece) if on_terminal else piece, end="", flush=True)
            last = piece
        finished = True
    finally:
        if (last or finished) and not last.endswith("\n"):  # an error before the first piece leaves stdout empty
            print(flush=True)
    return stream.result


def _read_stdin() -> bytes:
    from ovrun.limits import limit_value

    # One byte more than is allowed, so that the loader sees that it is too many.
    return sys.stdin.buffer.read(limit_value("image_bytes") + 1)


def format_stats(result: Result) -> str:
    """Token counts, times and memory as lines of text."""
    spent = result.timings_ms
    stages = ", ".join(f"{name} {spent[name]:.0f}" for name in ("load", "decode_image", "tile", "encode", "project"))
    speed = f", {1e3 / spent['per_token']:.1f} tokens/s" if spent["per_token"] else ""
    memory = "" if result.memory_mb is None else f"{result.memory_mb:.0f} MB peak, "
    return (
        f"tokens   {result.prompt_tokens} prompt ({result.image_tokens} from {result.tiles} tiles),"
        f" {result.completion_tokens} answer, ended by {result.finish_reason}\n"
        f"ms       {stages}, prefill {spent['prefill']:.0f}\n"
        f"         first token {spent['first_token']:.0f}, then {spent['per_token']:.1f} each{speed}\n"
        f"machine  {memory}{result.model.engine}, {result.model.precision}, {result.model.id}\n"
    )


Command = Callable[[Sequence[str], Terminal], None]
DEFAULT_COMMAND = ""  # what runs when the first word names no other
COMMANDS: dict[str, Command] = {DEFAULT_COMMAND: answer}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line; returns the exit code and never raises."""
    words = list(sys.argv[1:] if argv is None else argv)
    named = bool(words) and words[0] != DEFAULT_COMMAND and words[0] in COMMANDS
    command = COMMANDS[words[0] if named else DEFAULT_COMMAND]
    return run_command(lambda terminal: command(words[1:] if named else words, terminal), debug="--debug" in words)


if __name__ == "__main__":
    sys.exit(main())
