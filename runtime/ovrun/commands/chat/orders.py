"""What a line that begins with / does: one row of a table, one small function each."""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ovengines.errors import ExitCode, OVError
from ovrun.commands.chat.transcript import load, media_of, save
from ovrun.commands.output import format_stats
from ovrun.prompt.messages import text_message

if TYPE_CHECKING:
    from ovrun.commands.chat.dialog import Dialog

NO_SYSTEM = '""'
KEYS = """\
Other lines are questions. One that ends in a backslash goes on in the next; // at the start is a plain /.
Ctrl-C stops an answer and keeps what was said; at the prompt it drops the line, and twice where there is none leaves
(exit code 130). Ctrl-D and /quit leave, too. Tab completes commands and paths.
"""


@dataclass(frozen=True, kw_only=True)
class Order:
    """`takes` names its argument, in brackets if it may be left out, "" if there is none."""

    takes: str
    summary: str
    obey: Callable[[Dialog, str], None]
    takes_files: bool = False


def obey(dialog: Dialog, line: str) -> None:
    """Raises OVError (USAGE) for an order that does not exist, with the one most like it, and what the order raises."""
    name, *rest = line.split(None, 1)
    argument = rest[0].strip() if rest else ""
    order = ORDERS.get(name)
    if order is None:
        similar = difflib.get_close_matches(name, ORDERS, n=1)
        hint = f"did you mean {similar[0]}? " if similar else ""
        raise OVError(ExitCode.USAGE, f"there is no {name}", f"{hint}/help lists what there is")
    if bool(argument) != bool(order.takes) and not (order.takes.startswith("[") and not argument):
        raise OVError(
            ExitCode.USAGE, f"{name} takes {order.takes or 'nothing more'}", f"write {name} {order.takes}".strip()
        )
    order.obey(dialog, argument)


def go_on(dialog: Dialog, path: Path) -> None:
    """With the conversation in a file. Raises OVError as `load`; the one that was is then still there."""
    messages = load(path)
    dialog.chat.messages[:] = messages
    questions = sum(message["role"] == "user" for message in messages)
    dialog.tell(f"going on after {questions} questions about {len(list(media_of(messages)))} images and videos")


def _image(dialog: Dialog, argument: str) -> None:
    dialog.attached.add_images(_words(argument))
    dialog.tell(f"with the next question: {dialog.attached}")


def _video(dialog: Dialog, argument: str) -> None:
    dialog.attached.add_video(_word(argument))
    dialog.tell(f"with the next question: {dialog.attached}")


def _system(dialog: Dialog, argument: str) -> None:
    messages = dialog.chat.messages
    has_system = bool(messages) and messages[0]["role"] == "system"
    if argument:
        turn = [] if argument == NO_SYSTEM else [text_message("system", argument)]
        messages[: int(has_system)] = turn
    elif has_system:
        dialog.terminal.write("".join(part["text"] for part in messages[0]["content"]) + "\n")
    else:
        dialog.terminal.write("there is no system turn\n")


def _undo(dialog: Dialog, _: str) -> None:
    messages = dialog.chat.messages
    asked = [number for number, message in enumerate(messages) if message["role"] == "user"]
    if dialog.attached:
        dialog.tell(f"no longer attached: {dialog.attached}")
        dialog.attached.clear()
    elif asked:
        del messages[asked[-1] :]
        dialog.tell("the last question and its answer are gone")
    else:
        raise OVError(ExitCode.USAGE, "there is nothing to undo", "ask something")


def _clear(dialog: Dialog, _: str) -> None:
    dialog.attached.clear()
    dialog.chat.messages[:] = [message for message in dialog.chat.messages[:1] if message["role"] == "system"]
    dialog.tell("all but the system turn is forgotten")


def _save(dialog: Dialog, argument: str) -> None:
    path = Path(_word(argument)).expanduser()
    save(path, dialog.chat.messages, dialog.session.bundle.manifest.source)
    dialog.tell(f"saved in {path}")


def _load(dialog: Dialog, argument: str) -> None:
    go_on(dialog, Path(_word(argument)).expanduser())


def _stats(dialog: Dialog, _: str) -> None:
    if dialog.last is None:
        raise OVError(ExitCode.USAGE, "there is no answer yet", "ask something")
    used, context = dialog.last.prompt_tokens + dialog.last.completion_tokens, dialog.session.desk.context_tokens
    dialog.terminal.write(f"{format_stats(dialog.last)}context  {used:,} of {context:,} tokens\n")


def _help(dialog: Dialog, _: str) -> None:
    rows = (f"  {f'{name} {order.takes}':<17}{order.summary}\n" for name, order in ORDERS.items())
    dialog.terminal.write("".join(rows) + KEYS)


def _quit(dialog: Dialog, _: str) -> None:
    dialog.over = True


ORDERS: dict[str, Order] = {
    "/image": Order(takes="FILE...", summary="images for the next question", obey=_image, takes_files=True),
    "/video": Order(takes="FILE", summary="a video, or a folder of frames, for it", obey=_video, takes_files=True),
    "/system": Order(takes="[TEXT]", summary=f"set the system turn ({NO_SYSTEM}: none), or show it", obey=_system),
    "/undo": Order(takes="", summary="drop what is attached, or else the last question and answer", obey=_undo),
    "/clear": Order(takes="", summary="begin anew, with the same system turn", obey=_clear),
    "/save": Order(takes="FILE", summary="write the conversation to a file", obey=_save, takes_files=True),
    "/load": Order(takes="FILE", summary="go on with a saved one", obey=_load, takes_files=True),
    "/stats": Order(takes="", summary="tokens, timings and memory of the last answer", obey=_stats),
    "/help": Order(takes="", summary="this list", obey=_help),
    "/quit": Order(takes="", summary="leave", obey=_quit),
}


def _words(argument: str) -> list[str]:
    """The files of an argument, as a shell would see them. Raises OVError (USAGE) for a quote without its end."""
    try:
        return shlex.split(argument)
    except ValueError as err:
        raise OVError(ExitCode.USAGE, f"{argument} can't be read: {err}", "close the quote") from err


def _word(argument: str) -> str:
    words = _words(argument)
    if len(words) != 1:
        raise OVError(
            ExitCode.USAGE, f"one file is wanted, and there are {len(words)}", "put a name with spaces in quotes"
        )
    return words[0]
