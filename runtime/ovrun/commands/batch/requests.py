"""What a batch asks: prompts about the images below folders, or the lines of a file of requests.

Everything is checked before the first answer, but for the media, which are looked at in their turn.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any

from ovengines.errors import ExitCode, OVError
from ovrun.commands.flags import DECODING, SEEING
from ovrun.limits import check_limit, limit_value

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")  # of the formats of ovrun.media.image
KEYS = ("id", "prompt", "images", "video", "system", *SEEING, *DECODING)
STDIN = "-"


@dataclass(frozen=True, kw_only=True)
class Request:
    """`about` is what its line says beside the answer, the id first; `arguments` are those of `Session.generate`."""

    about: Mapping[str, Any]
    arguments: Mapping[str, Any]

    @property
    def id(self) -> str:
        return str(self.about["id"])


def image_requests(paths: Sequence[str], prompts: Sequence[str], options: Mapping[str, Any]) -> list[Request]:
    """Every prompt about every image. The id is the path of the image, with #1, #2 ... where there are several prompts.

    Raises OVError (BAD_INPUT) for a folder without images.
    """
    images = list(dict.fromkeys(image for path in paths for image in _images(path)))
    return [
        Request(
            about={"id": image if len(prompts) == 1 else f"{image}#{number}", "image": image, "prompt": prompt},
            arguments={**options, "prompt": prompt, "images": [image]},
        )
        for image in images  # the questions about an image together: it is looked at once
        for number, prompt in enumerate(prompts, start=1)
    ]


def file_requests(path: str, options: Mapping[str, Any]) -> list[Request]:
    """The requests of a file of JSON objects, one a line, `-` for stdin. Their media are relative to the file.

    Raises OVError (BAD_INPUT, or LIMIT_EXCEEDED for a line) that names the line.
    """
    folder = "" if path == STDIN else os.path.dirname(path)
    requests: dict[str, tuple[int, Request]] = {}
    with _opened(path) as file:
        for number, line in _lines(file, path):
            request = _request(line, f"{path}, line {number}", str(number), folder, options)
            if request.id in requests:
                earlier = requests[request.id][0]
                raise _bad(f"{path}, line {number}", f'the id "{request.id}" is that of line {earlier}', "change one")
            requests[request.id] = number, request
    if not requests:
        raise OVError(ExitCode.BAD_INPUT, f"{path} has no requests", f"write one object a line, with {_listed(KEYS)}")
    return [request for _, request in requests.values()]


def _images(path: str) -> list[str]:
    """The path itself, or the images below the folder that it is, by name; hidden ones are left out."""
    if not os.path.isdir(path):
        return [path]
    found = sorted(
        os.path.join(parent, name)
        for parent, folders, names in _walk(path)
        for name in names
        if name.lower().endswith(SUFFIXES) and not name.startswith(".")
    )
    if not found:
        raise OVError(
            ExitCode.BAD_INPUT, f"there is no image below {path}", f"it should hold {_listed(SUFFIXES)} files"
        )
    return found


def _walk(path: str) -> Iterator[tuple[str, list[str], list[str]]]:
    for parent, folders, names in os.walk(path):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield parent, folders, names


@contextmanager
def _opened(path: str) -> Iterator[IO[bytes]]:
    if path == STDIN:
        yield sys.stdin.buffer
        return
    try:
        file = open(path, "rb")  # noqa: SIM115
    except (OSError, ValueError) as err:  # ValueError: a null character in the path
        reason = getattr(err, "strerror", None) or "not a usable path"
        raise OVError(ExitCode.BAD_INPUT, f"{path} can't be read: {reason}", "check the path") from err
    with file:
        yield file


def _lines(file: IO[bytes], path: str) -> Iterator[tuple[int, bytes]]:
    """The lines that are not blank, with their numbers."""
    most = limit_value("request_bytes")
    number = 0
    while line := file.readline(most + 2):
        number += 1
        check_limit("request_bytes", len(line.rstrip(b"\r\n")), f"{path}, line {number} has at least")
        if line.strip():
            yield number, line


def _request(line: bytes, where: str, number: str, folder: str, options: Mapping[str, Any]) -> Request:
    fields = _fields(line, where)
    arguments = {**options, **fields, "images": [os.path.join(folder, image) for image in fields.get("images", ())]}
    if "video" in fields:
        arguments["video"] = os.path.join(folder, fields["video"])
    about: dict[str, Any] = {"id": arguments.pop("id", number)}
    about |= {key: fields[key] for key in ("images", "video") if key in fields}
    about["prompt"] = arguments["prompt"]
    _check(arguments, where)
    return Request(about=about, arguments=arguments)


def _check(arguments: Mapping[str, Any], where: str) -> None:
    """Raises OVError for what `Session.generate` would refuse without looking at the media."""
    from ovrun.ask import ask_about, split_options

    options = {name: value for name, value in arguments.items() if name in (*SEEING, *DECODING)}
    try:
        seeing, _ = split_options(options)
        ask_about(arguments["prompt"], arguments["images"], arguments.get("video"), arguments.get("system"), seeing)
    except OVError as err:
        code = ExitCode.BAD_INPUT if err.code is ExitCode.USAGE else err.code
        raise OVError(code, f"{where}: {err.message}", err.hint) from err


def _fields(line: bytes, where: str) -> dict[str, Any]:
    """The object of a line, of the keys that there are and of the types that those of this module have."""
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError) as err:
        raise _bad(where, "this is not JSON", "write one object a line") from err
    if not isinstance(fields, dict):
        raise _bad(where, "this is no object", 'write {"prompt": ..., "images": [...]}')
    if unknown := [key for key in fields if key not in KEYS]:
        raise _bad(where, f"unknown: {', '.join(unknown)}", f"there are {_listed(KEYS)}")
    fields = {key: value for key, value in fields.items() if value is not None}
    for key, (fits, wanted) in _TYPES.items():
        if key in fields and not fits(fields[key]):
            raise _bad(where, f"{key} is {json.dumps(fields[key])[:80]}", f"it should be {wanted}")
    return fields


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_id(value: object) -> bool:
    return isinstance(value, (str, int)) and not isinstance(value, bool)


def _are_texts(value: object) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


_TYPES: dict[str, tuple[Callable[[object], bool], str]] = {
    "id": (_is_id, "a text or a whole number"),
    "prompt": (_is_text, "a text"),
    "system": (_is_text, "a text"),
    "video": (_is_text, "the path of a video"),
    "images": (_are_texts, "a list of paths"),
}


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)


def _bad(where: str, what: str, hint: str) -> OVError:
    return OVError(ExitCode.BAD_INPUT, f"{where}: {what}", hint)
