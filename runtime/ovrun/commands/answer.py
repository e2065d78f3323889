"""`ovrun IMAGE...`: one question, one answer. Knows nothing of how an answer is made."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from ovengines.errors import ExitCode, OVError
from ovrun.commands.flags import (
    add_decoding,
    add_machine,
    add_media,
    add_model,
    add_output,
    add_seeing,
    check_images,
    given,
    open_session,
)
from ovrun.commands.output import format_stats, print_pieces, set_encoding
from ovrun.terminal import Terminal

if TYPE_CHECKING:
    from ovrun.result import Result
    from ovrun.session import Session

SUMMARY = "answer a question about images or a video with a bundle made by `ovexport build`"
USAGE = "ovrun [IMAGE...] [--video FILE] [-p PROMPT] [options]"
VIDEO_PROMPT = "Describe this video."  # the session's own default speaks of an image


def arguments(parser: argparse.ArgumentParser) -> None:
    add_media(parser, "image files; - reads one from stdin")
    add = parser.add_argument
    add("-p", "--prompt", metavar="TEXT", help="the question (default: Describe this image.); <image> in it is a place")
    add_model(parser)
    add_seeing(parser)
    add_decoding(parser)
    add_machine(parser)
    add_output(parser, json="print one JSON object: answer, counts, timings")


def run(args: argparse.Namespace, terminal: Terminal) -> None:
    """The command itself. Raises OVError for everything that the user can mend."""
    if not args.images and args.video is None and args.prompt is None:
        raise OVError(ExitCode.USAGE, "no image given", "try: ovrun image.jpg")
    check_images(args.images, "ovrun --video")
    _warn_of_no_video(args, terminal)
    from ovrun.session import DEFAULT_PROMPT

    default = VIDEO_PROMPT if args.video is not None and not args.images else DEFAULT_PROMPT
    request = {
        "prompt": default if args.prompt is None else args.prompt,
        "images": [_read_stdin() if name == "-" else name for name in args.images],
        "video": args.video,
        "system": args.system,
        "on_progress": terminal.progress,
        **given(args),
    }
    with open_session(args, terminal) as session:
        set_encoding(json=args.json)
        result = _print_json(session, request) if args.json else _print_stream(session, request)
    for warning in result.warnings:
        terminal.note("warning", warning)
    if args.stats:
        terminal.write(format_stats(result))


def _print_json(session: Session, request: dict[str, Any]) -> Result:
    result = session.generate(**request)
    print(result.to_json(), flush=True)
    return result


def _print_stream(session: Session, request: dict[str, Any]) -> Result:
    stream = session.generate(**request, stream=True)
    print_pieces(stream)
    return stream.result


def _read_stdin() -> bytes:
    from ovrun.limits import limit_value

    # One byte more than is allowed, so that the loader sees that it is too many.
    return sys.stdin.buffer.read(limit_value("image_bytes") + 1)


def _warn_of_no_video(args: argparse.Namespace, terminal: Terminal) -> None:
    idle = [name for name in ("num_frames", "fps", "max_frames") if getattr(args, name) is not None]
    if idle and args.video is None:
        terminal.note("warning", f"{', '.join(idle)} without effect: there is no video")
