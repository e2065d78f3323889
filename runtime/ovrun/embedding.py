"""What the C library calls (`runtime/cpp`): its arguments as those of a Session. Makes no answers of its own.

Whatever is handed over of the application's memory is read before these functions return, and not after. Every
function may be called from any thread; a session answers one at a time, which the library sees to.
"""

from __future__ import annotations

import ctypes
import gc
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from PIL import Image

from ovengines.errors import ExitCode, OVError
from ovrun.chat import Chat
from ovrun.command import CommandParser, explain, parse_words
from ovrun.commands.answer import VIDEO_PROMPT
from ovrun.commands.flags import add_decoding, add_machine, add_seeing, given, open_session
from ovrun.limits import check_limit
from ovrun.log import LEVELS, logger
from ovrun.media.image import ImageSource, load_image
from ovrun.media.raw import RawFrame, frame_at, rgb_matrix
from ovrun.result import Result, TextStream
from ovrun.session import DEFAULT_PROMPT, Session
from ovrun.terminal import Terminal
from ovrun.watch import Watch

Option = tuple[bytes, bytes | None]
Memory = tuple[int, int]  # address and number of bytes
Convert = Callable[[Sequence[float]], bytes]  # a frame, by a matrix, to RGBX
Frame = tuple[str, int, int, list[tuple[int, int]], str, Convert | None]  # arguments of frame_at, and of NV12 how
Media = bytes | Memory | Frame  # path, encoded file, pixels
WantsMore = Callable[[], bool]

SWITCHES = {None: True, b"": True, b"1": True, b"true": True, b"0": False, b"false": False}
BRIDGE_VERSION = 2  # changes with any function that the bridge calls; as in cpp/src/bridge.h


@dataclass(frozen=True, kw_only=True, eq=False)
class _Converted(RawFrame):
    """A frame that the bridge makes RGB of, in one loop without the GIL, to the very numbers of RawFrame."""

    convert: Convert

    def to_rgb(self) -> Image.Image:
        pixels = self.convert(rgb_matrix(self.colour))
        return Image.frombytes("RGB", (self.width_px, self.height_px), pixels, "raw", "RGBX", 0, 1)


class Stopped(Exception):
    """The application has had enough before anything was said."""


def open_bundle(bundle: bytes | None, options: Sequence[Option]) -> Session:
    """`bundle` and `options` as `-m` and the machine's options of the command line."""
    args = parse_words(_parser("machine"), _words(options, "machine"))
    args.model = _text(bundle, "the bundle") if bundle else None
    return open_session(args, Terminal(quiet=True))


def open_chat(session: Session, system: bytes | None, options: Sequence[Option]) -> Chat:
    return session.chat(_optional(system, "the system turn"), **_asked(options))


def open_watch(session: Session, prompt: bytes | None, window: int, every: int, options: Sequence[Option]) -> Watch:
    question = VIDEO_PROMPT if prompt is None else _text(prompt, "the prompt")
    return Watch(session, question, window, every, _asked(options))


class Answer:
    """One answer in the making. `wants_more` is asked while there is nothing to say yet."""

    def __init__(
        self,
        target: Session | Chat | Watch,
        prompt: bytes | None,
        system: bytes | None,
        images: Sequence[Media],
        video: Sequence[Media] | None,
        options: Sequence[Option],
        wants_more: WantsMore,
    ) -> None:
        def check(label: str, done: int, total: int) -> None:
            if not wants_more():
                raise Stopped

        self.stream: TextStream | None = None
        self.nothing_said: Result | None = None
        try:
            if isinstance(target, Watch):
                self.stream = target.push(_image(images[0]), check)
            else:
                asked = _request(prompt, images, video, options)
                self.stream = _ask(target, system, {**asked, "on_progress": check})
        except Stopped:
            self.nothing_said = (target if isinstance(target, Session) else target.session).nothing_said()

    def piece(self) -> str | None:
        """The next piece of text; None at the end."""
        try:
            return None if self.stream is None else next(self.stream, None)
        except Stopped:
            return None

    def result(self) -> Result | None:
        """What was said, to the end or so far; None where no answer was due."""
        return self.nothing_said if self.stream is None else self.stream.stop()


def _request(
    prompt: bytes | None, images: Sequence[Media], video: Sequence[Media] | None, options: Sequence[Option]
) -> dict[str, Any]:
    default = VIDEO_PROMPT if video and not images else DEFAULT_PROMPT
    return {
        "prompt": default if prompt is None else _text(prompt, "the prompt"),
        "images": [_image(item) for item in images],
        "video": _video(video),
        **_asked(options),
    }


def _ask(target: Session | Chat, system: bytes | None, asked: dict[str, Any]) -> TextStream:
    if isinstance(target, Session):
        return target.generate(**asked, system=_optional(system, "the system turn"), stream=True)
    if system is not None:
        raise OVError(ExitCode.USAGE, "the system turn is that of the chat's beginning", "give it there")
    kept = {"images": _kept(asked.pop("images")), "video": _kept(asked.pop("video"))}
    return target.ask(**asked, **kept, stream=True)


def close(target: Session | Chat | Watch) -> None:
    if isinstance(target, Session):
        target.close()
        trim()


def collect() -> None:
    """Give back what the closed ones held; nothing waits for Python to do so in its own time."""
    gc.collect()
    trim()


def trim() -> None:
    """To the system, which gets it back from malloc only in part otherwise. Takes a millisecond or a few."""
    if malloc_trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
        malloc_trim(0)


class _Log(logging.Handler):
    def __init__(self, tell: Callable[[int, str], None]) -> None:
        super().__init__()
        self.tell, self.level_before = tell, logger.level

    def handle(self, record: logging.LogRecord) -> bool:
        """Without the handler's lock: the application may take its time, and log from several threads."""
        self.emit(record)
        return True

    def emit(self, record: logging.LogRecord) -> None:
        self.tell(_verbosity(record.levelno), self.format(record))


def log_to(tell: Callable[[int, str], None] | None, verbosity: int) -> None:
    """Hand the log to `tell`, which gets a verbosity (-1 errors, 0 warnings, 1, 2) and a line; None ends that, and sets
    the log to what it was before."""
    for handler in [handler for handler in logger.handlers if isinstance(handler, _Log)]:
        logger.removeHandler(handler)
        logger.setLevel(handler.level_before)
    if tell is not None:
        logger.addHandler(_Log(tell))
        logger.setLevel(LEVELS[max(-1, min(2, verbosity))])


def _verbosity(level: int) -> int:
    return next((verbosity for verbosity, lowest in sorted(LEVELS.items()) if level >= lowest), 2)


@lru_cache(maxsize=2)
def _parser(kind: str) -> CommandParser:
    parser = CommandParser(prog="ovrun", add_help=False, allow_abbrev=False)
    for add in (add_machine,) if kind == "machine" else (add_seeing, add_decoding):
        add(parser)
    return parser


def _asked(options: Sequence[Option]) -> dict[str, Any]:
    return given(parse_words(_parser("question"), _words(options, "question"))) if options else {}


def _words(options: Sequence[Option], kind: str) -> list[str]:
    """The options as words of a command line; "--max-new-tokens", "max-new-tokens" and "max_new_tokens" are one."""
    words = []
    for name, value in options:
        flag = "--" + _text(name, "the name of an option").lstrip("-").replace("_", "-")
        action = _parser(kind)._option_string_actions.get(flag)
        if action is not None and action.nargs == 0:
            if value not in SWITCHES:
                raise OVError(ExitCode.USAGE, f"{flag} is on or off", "give true or false")
            words += [flag] if SWITCHES[value] else []
        else:
            words.append(flag if value is None else f"{flag}={_text(value, f'the value of {flag}')}")
    return words


def _text(encoded: bytes, what: str) -> str:
    try:
        return encoded.decode()
    except UnicodeDecodeError as err:
        raise OVError(ExitCode.BAD_INPUT, f"{what} is not UTF-8 (byte {err.start})", "encode it as UTF-8") from err


def _optional(encoded: bytes | None, what: str) -> str | None:
    return None if encoded is None else _text(encoded, what)


def _image(media: Media) -> ImageSource:
    if isinstance(media, bytes):
        return os.fsdecode(media)
    if len(media) == 2:
        return bytes(_view(media, "image"))  # a copy: Pillow makes one of what is no bytes
    format, width_px, height_px, planes, colour, convert = media
    frame = frame_at(format, width_px, height_px, planes, colour)
    return frame if convert is None else _Converted(**vars(frame), convert=convert)


def _video(media: Sequence[Media] | None) -> Any:
    """A file if it is one; else frames. None where there is none."""
    if media is None:
        return None
    only = media[0] if len(media) == 1 else None
    if isinstance(only, bytes):
        return os.fsdecode(only)
    if only is not None and len(only) == 2:
        return _view(only, "video")
    return [_image(item) for item in media]


def _view(memory: Memory, what: str) -> memoryview:
    """The bytes of an encoded file, not copied, and none of them read if there are too many."""
    address, num_bytes = memory
    check_limit(f"{what}_bytes", num_bytes, f"the {what} has")
    return memoryview((ctypes.c_ubyte * num_bytes).from_address(address)).cast("B")


def _kept(media: Any) -> Any:
    """The same without anybody else's memory: a conversation shows its pictures again."""
    if isinstance(media, RawFrame):
        return load_image(media)
    if isinstance(media, memoryview):
        return bytes(media)
    return list(map(_kept, media)) if isinstance(media, list) else media


def explain_error(err: BaseException) -> tuple[int, str, str]:
    """Code, message and hint; where it came from goes to the log."""
    logger.debug("", exc_info=err)
    error = explain(err)
    # There is no command line to be given --debug.
    hint = "the log has where: ov_set_log(..., 2, ...)" if error.code is ExitCode.UNEXPECTED else error.hint
    return int(error.code), error.message, hint
