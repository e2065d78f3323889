"""A conversation as a file: JSON with a version, media by absolute path.

Files are untrusted: of bounded size, and every field is checked. Knows no session and no terminal.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ovengines.errors import ExitCode, OVError
from ovrun.limits import check_limit

FORMAT, VERSION = "ovrun-chat", 1
MEDIA = ("image", "video")
ROLES = ("system", "user", "assistant")
_START = f'{{\n "format": "{FORMAT}"'  # how every file begins that was written here

Message = dict[str, Any]


def save(path: Path, messages: Sequence[Message], model: str) -> None:
    """Write the file, whole or not at all; an older conversation is replaced, nothing else.

    Raises OVError (USAGE) for a file of something else, or a place that can't be written.
    """
    content = {"format": FORMAT, "version": VERSION, "model": model, "messages": list(messages)}
    text = json.dumps(content, ensure_ascii=False, indent=1) + "\n"
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        if path.exists() and not _is_ours(path):
            raise OVError(ExitCode.USAGE, f"{path} is there and is no conversation", "choose another name")
        try:
            part.write_text(text, encoding="utf-8", errors="surrogatepass")
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except (OSError, ValueError) as err:  # ValueError: a null character in the path
        reason = getattr(err, "strerror", None) or "not a usable path"
        raise OVError(ExitCode.USAGE, f"{path} can't be written: {reason}", "choose another place") from err


def load(path: Path) -> list[Message]:
    """The messages of a file.

    Raises OVError: BAD_INPUT for what is no conversation, and for one whose media are gone, naming them.
    """
    messages = [_message(message, path) for message in _messages(_read(path), path)]
    if gone := sorted({source for source in media_of(messages) if not os.path.exists(source)}):
        raise OVError(ExitCode.BAD_INPUT, f"{path} is about what is gone: {', '.join(gone)}", "put it back there")
    return messages


def media_of(messages: Sequence[Message]) -> Iterator[str]:
    """The paths of all images and videos, in order."""
    for message in messages:
        for part in message["content"]:
            if part["type"] in MEDIA:
                yield part[part["type"]]


def _is_ours(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_START)) == _START.encode()


def _read(path: Path) -> Any:
    try:
        check_limit("transcript_bytes", path.stat().st_size, f"{path} has")
        return json.loads(path.read_bytes())
    except OSError as err:
        raise OVError(ExitCode.BAD_INPUT, f"{path} can't be read: {err.strerror}", "check the path") from err
    except (ValueError, RecursionError) as err:
        raise _not_ours(path, "it is not JSON") from err


def _messages(content: Any, path: Path) -> list[Any]:
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise _not_ours(path, f'it has no "format": "{FORMAT}"')
    version, messages = content.get("version"), content.get("messages")
    if isinstance(version, int) and version > VERSION:
        raise OVError(
            ExitCode.BAD_INPUT, f"{path} has version {version}", f"a newer ovrun reads it; this one: {VERSION}"
        )
    if version != VERSION or not isinstance(messages, list):
        raise _not_ours(path, "its version or its messages are missing")
    return messages


def _message(message: Any, path: Path) -> Message:
    """Only what is known of a message, with parts of the right types."""
    if (
        not isinstance(message, dict)
        or message.get("role") not in ROLES
        or not isinstance(message.get("content"), list)
    ):
        raise _not_ours(path, "a message has no role, or no content")
    return {"role": message["role"], "content": [_part(part, path) for part in message["content"]]}


def _part(part: Any, path: Path) -> dict[str, str]:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind not in ("text", *MEDIA) or not isinstance(part.get(kind), str):
        raise _not_ours(path, "a part of a message is neither text nor the path of an image or a video")
    return {"type": kind, kind: part[kind]}


def _not_ours(path: Path, why: str) -> OVError:
    return OVError(ExitCode.BAD_INPUT, f"{path} is no conversation that was saved here: {why}", "/save writes them")
