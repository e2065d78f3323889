"""`ovrun chat`: what a conversation is begun with, and where its lines come from."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ovengines.errors import ExitCode, OVError
from ovrun.commands.flags import (
    add_decoding,
    add_machine,
    add_media,
    add_model,
    add_output,
    add_seeing,
    given,
    open_session,
)
from ovrun.commands.output import set_encoding
from ovrun.terminal import Terminal

if TYPE_CHECKING:
    from ovrun.commands.chat.lines import Lines

SUMMARY = "talk about images and videos; there, /help lists the commands"
USAGE = "ovrun chat [IMAGE...] [--video FILE] [-p PROMPT] [options]"
HISTORY = "chat_history"  # under $OV_HOME


def arguments(parser: argparse.ArgumentParser) -> None:
    add_media(parser, "image files of the first question")
    parser.add_argument("-p", "--prompt", metavar="TEXT", help="the first question")
    parser.add_argument("--load", type=Path, metavar="FILE", help="go on with a conversation that /save wrote")
    add_model(parser)
    add_seeing(parser)
    add_decoding(parser)
    add_machine(parser)
    add_output(parser, json="print one JSON object per answer")


def run(args: argparse.Namespace, terminal: Terminal) -> None:
    """Raises OVError for what is wrong at the start, and (BAD_INPUT) at the end of a script of which lines failed."""
    from ovrun.commands.chat.attached import Attached
    from ovrun.commands.chat.dialog import Dialog
    from ovrun.commands.chat.orders import go_on

    attached = Attached()
    attached.add_images(args.images)
    if args.video is not None:
        attached.add_video(args.video)
    lines = _lines(terminal)
    with open_session(args, terminal) as session:
        set_encoding(json=args.json)
        open_chat = partial(session.chat, args.system, **given(args))
        dialog = Dialog(session, open_chat, attached, lines, terminal, json=args.json, stats=args.stats)
        dialog.tell(f"{session.bundle.manifest.source} on {session.engine.name}; /help lists the commands")
        if args.load is not None:
            go_on(dialog, args.load)
        dialog.run(args.prompt)
    if dialog.num_failed and not lines.typed:
        raise OVError(ExitCode.BAD_INPUT, f"lines that failed: {dialog.num_failed}", "the errors above say why")


def _lines(terminal: Terminal) -> Lines:
    from ovengines.home import ov_home
    from ovrun.commands.chat.completion import completions
    from ovrun.commands.chat.history import History
    from ovrun.commands.chat.lines import ScriptLines, TypedLines
    from ovrun.commands.chat.orders import ORDERS

    if sys.stdin is None or not sys.stdin.isatty():
        return ScriptLines()
    taking_files = [name for name, order in ORDERS.items() if order.takes_files]
    complete = partial(completions, commands=ORDERS, taking_files=taking_files)
    return TypedLines(terminal, History(ov_home() / HISTORY), complete)
