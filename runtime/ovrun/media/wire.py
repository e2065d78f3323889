"""What the decoding process tells its parent, and how the parent reads it without trusting a word.

A message is a line of JSON: {"frame": index, "width": px, "height": px}, followed by the RGB bytes; at the end
{"chosen": ...} or {"error": ...}. Knows pipes; no video.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import IO, Any

from PIL import Image

from ovengines.errors import ExitCode, OVError
from ovrun.limits import check_limit, limit_value
from ovrun.media.chosen import ChosenFrames, check_frame_size

MAX_LINE_BYTES = 1 << 20  # 1,024 frames take some 40,000
MAX_TEXT_CHARS = 5000  # a path may have 4,096
ERROR_CODES = (ExitCode.USAGE, ExitCode.BAD_INPUT, ExitCode.LIMIT_EXCEEDED)


class BrokenMessage(Exception):
    """The decoding process said what it never says when it is well; most often nothing, because it has died."""


def send_frame(pipe: IO[bytes], index: int, image: Image.Image) -> None:
    _send(pipe, {"frame": index, "width": image.width, "height": image.height})
    pipe.write(image.tobytes())


def send_chosen(pipe: IO[bytes], chosen: ChosenFrames) -> None:
    _send(pipe, {"chosen": asdict(chosen)})


def send_error(pipe: IO[bytes], error: OVError) -> None:
    _send(pipe, {"error": {"code": int(error.code), "message": error.message, "hint": error.hint}})


def _send(pipe: IO[bytes], message: dict[str, Any]) -> None:
    pipe.write(json.dumps(message).encode() + b"\n")


def receive(pipe: IO[bytes], label: str) -> tuple[dict[int, Image.Image], ChosenFrames]:
    """Everything that the process sends; every chosen frame is among the images.

    Raises:
        OVError: what the process says of the video; LIMIT_EXCEEDED if it sends more than it may.
        BrokenMessage: anything else.
    """
    images: dict[int, Image.Image] = {}
    while True:
        message = _receive_line(pipe)
        if "frame" not in message:
            return images, _last(message, images)
        index, image = _receive_frame(pipe, message, label)
        images[index] = image
        held_bytes = sum(image.width * image.height * 3 for image in images.values())
        check_limit("clip_bytes", held_bytes / 2, f"the chosen frames of {label} have")  # / 2: see `_Through.decode`


def _receive_line(pipe: IO[bytes]) -> dict[str, Any]:
    line = pipe.readline(MAX_LINE_BYTES)
    try:
        message = json.loads(line)
    except (ValueError, RecursionError) as err:
        raise BrokenMessage("not JSON") from err
    if not isinstance(message, dict):
        raise BrokenMessage("not an object")
    return message


def _receive_frame(pipe: IO[bytes], message: dict[str, Any], label: str) -> tuple[int, Image.Image]:
    index, width_px, height_px = (_number(message.get(name), int) for name in ("frame", "width", "height"))
    if width_px < 1 or height_px < 1:
        raise BrokenMessage("an empty frame")
    check_frame_size(width_px, height_px, label)
    pixels = pipe.read(width_px * height_px * 3)
    if len(pixels) != width_px * height_px * 3:
        raise BrokenMessage("part of a frame")
    return index, Image.frombytes("RGB", (width_px, height_px), pixels)


def _last(message: dict[str, Any], images: dict[int, Image.Image]) -> ChosenFrames:
    if "error" in message:
        raise _error(message["error"])
    fields = message.get("chosen")
    if not isinstance(fields, dict):
        raise BrokenMessage("neither frames nor an error")
    duration_s = fields.get("duration_s")
    chosen = ChosenFrames(
        num_frames=_number(fields.get("num_frames"), int),
        duration_s=None if duration_s is None else _number(duration_s, float),
        indices=_list(fields.get("indices"), lambda value: _number(value, int)),
        times_s=_list(fields.get("times_s"), lambda value: _number(value, float)),
        warnings=_list(fields.get("warnings"), _text),
    )
    if not chosen.indices or len(chosen.times_s) != len(chosen.indices) or not set(chosen.indices) <= set(images):
        raise BrokenMessage("frames that were not sent")
    return chosen


def _error(fields: object) -> OVError:
    if not isinstance(fields, dict) or fields.get("code") not in ERROR_CODES:
        raise BrokenMessage("an error of no kind")
    return OVError(ExitCode(fields["code"]), _text(fields.get("message")), _text(fields.get("hint")))


def _number(value: object, kind: Callable[[Any], Any]) -> Any:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not abs(value) < 1 << 53:
        raise BrokenMessage("not a number")
    return kind(value)


def _list(values: object, kind: Callable[[Any], Any]) -> tuple[Any, ...]:
    if not isinstance(values, list) or len(values) > limit_value("frames"):
        raise BrokenMessage("not a list that could be true")
    return tuple(kind(value) for value in values)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise BrokenMessage("not text")
    return "".join(char if char.isprintable() else "?" for char in value[:MAX_TEXT_CHARS])
