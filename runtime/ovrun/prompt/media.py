"""Takes the images and videos out of messages that carry them, and leaves their places.

A part is {"type": "image", "image": ...} or {"type": "video", "video": ...}, the media of any type that
`ovrun.media` loads. Knows no pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ovengines.errors import ExitCode, OVError
from ovrun.prompt.messages import MARKERS, Message


def take_media(messages: Sequence[Mapping[str, Any]]) -> tuple[list[Message], dict[str, list[Any]]]:
    """The messages with bare places, and the media of each kind in their order.

    Raises OVError (BAD_INPUT) for what is no list of turns, and for a part that says image or video and brings none.
    """
    media: dict[str, list[Any]] = {kind: [] for kind in MARKERS}
    if isinstance(messages, (str, bytes)) or not all(isinstance(message, Mapping) for message in messages):
        raise OVError(ExitCode.BAD_INPUT, "messages are not a list of turns", 'a turn is {"role": ..., "content": ...}')
    return [{**message, "content": _content(message.get("content"), media)} for message in messages], media


def _content(content: object, media: dict[str, list[Any]]) -> object:
    if isinstance(content, str) or not isinstance(content, Sequence):
        return content
    return [_part(part, media) for part in content]


def _part(part: object, media: dict[str, list[Any]]) -> object:
    kind = part.get("type") if isinstance(part, Mapping) else None
    if not isinstance(part, Mapping) or kind not in MARKERS:
        return part
    if part.get(str(kind)) is None:
        raise OVError(
            ExitCode.BAD_INPUT,
            f"a message has a part of type {kind} without the {kind}",
            f'write {{"type": "{kind}", "{kind}": ...}}',
        )
    media[str(kind)].append(part[str(kind)])
    return {"type": kind}
