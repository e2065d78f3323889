"""The messages of an OpenAI request as messages of the runtime: text, data URLs decoded, links kept for the fetcher."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ovrun.prompt.messages import DEFAULT_SYSTEM, Message, text_message
from ovrun.server.fetch import Link
from ovrun.server.refusal import Refusal

_DATA_URL = re.compile(r"data:(?P<mime>[\w.+-]+/[\w.+-]+)?(?P<settings>(?:;[\w.+-]+=[^;,]*)*);base64,", re.IGNORECASE)
_SYSTEM_ROLES = ("system", "developer")
_MEDIA_KINDS = {"image_url": "image", "video_url": "video"}


def read_messages(value: object) -> list[Message]:
    """The conversation, with the system turn of training where it has none (an empty one leaves it out).

    The media in it are bytes or Links. Raises Refusal (400), which names the part that is wrong.
    """
    if not isinstance(value, list) or not value:
        raise _wrong("messages", "a list of at least one message")
    messages = [_message(message, f"messages[{number}]") for number, message in enumerate(value)]
    if not any(message["role"] == "system" for message in messages):
        messages.insert(0, text_message("system", DEFAULT_SYSTEM))
    return [message for message in messages if message["role"] != "system" or message["content"]]


def has_links(messages: Sequence[Message]) -> bool:
    """Whether there is anything to fetch."""
    return any(isinstance(part.get(part["type"]), Link) for message in messages for part in message["content"])


def fill_links(messages: Sequence[Message], fetch: Callable[[str], bytes]) -> list[Message]:
    """The same messages with what their links lead to. Raises what `fetch` raises."""
    return [{**message, "content": [_filled(part, fetch) for part in message["content"]]} for message in messages]


def _filled(part: Mapping[str, Any], fetch: Callable[[str], bytes]) -> Mapping[str, Any]:
    source = part.get(part["type"])
    return {**part, part["type"]: fetch(source.url)} if isinstance(source, Link) else part


def _message(value: object, where: str) -> Message:
    if not isinstance(value, dict):
        raise _wrong(where, "an object with role and content")
    role = value.get("role")
    if role in _SYSTEM_ROLES:
        role = "system"
    if role not in ("system", "user", "assistant"):
        raise _wrong(f"{where}.role", "system, developer, user or assistant (this model calls no tools)")
    if value.get("tool_calls") or value.get("function_call"):
        raise _wrong(f"{where}.tool_calls", "absent: this model calls no tools")
    content = value.get("content")
    if isinstance(content, str):
        content = [{"type": "text", "text": content}]
    if not isinstance(content, list):
        raise _wrong(f"{where}.content", "text, or a list of parts")
    parts = [_part(part, f"{where}.content[{number}]") for number, part in enumerate(content)]
    kept = [part for part in parts if part.get("text") != ""]
    if role != "user" and any(part["type"] != "text" for part in kept):
        raise _wrong(f"{where}.content", "text: only users show pictures")
    return {"role": role, "content": kept}


def _part(value: object, where: str) -> dict[str, Any]:
    kind = value.get("type") if isinstance(value, dict) else None
    if not isinstance(value, dict) or kind not in ("text", *_MEDIA_KINDS):
        raise _wrong(where, "a part of type text, image_url or video_url")
    inner = value.get(kind)
    if kind == "text":
        if not isinstance(inner, str):
            raise _wrong(f"{where}.text", "a string")
        return {"type": "text", "text": inner}
    url = inner.get("url") if isinstance(inner, dict) else inner
    if not isinstance(url, str):
        raise _wrong(f"{where}.{kind}.url", "a data URL")
    return _medium(url, _MEDIA_KINDS[kind], f"{where}.{kind}.url")


def _medium(url: str, kind: str, where: str) -> dict[str, Any]:
    if url[:5].lower() != "data:":
        return {"type": kind, kind: Link(url=url)}
    found = _DATA_URL.match(url, 0, 500)
    if not found:
        raise _wrong(where, "a data URL in base64, such as data:image/png;base64,iVBOR...")
    if (found["mime"] or "").lower().startswith("video/"):  # OpenAI's form has a name for images only
        kind = "video"
    try:
        return {"type": kind, kind: base64.b64decode(url[found.end() :], validate=True)}
    except (binascii.Error, ValueError) as err:
        raise _wrong(where, f"in base64, and it is damaged ({err})") from err


def _wrong(where: str, wanted: str) -> Refusal:
    return Refusal(400, f"{where} should be {wanted}", code="invalid_value", param=where)
