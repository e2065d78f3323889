"""Turns of a conversation: made from a prompt and a number of media, and with the media's places written as
text.

Knows the conventions of LLaVA-OneVision's training prompts; no template, no token ids, no pixels. A message
is {"role": ..., "content": [{"type": "text", "text": ...} | {"type": "image"} | {"type": "video"}]}.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

from ovengines.errors import ExitCode, OVError

DEFAULT_SYSTEM = "You are a helpful assistant."
ROLES = ("system", "user", "assistant")
MARKERS = {"image": "<image>", "video": "<video>"}

_MARKER = re.compile("|".join(MARKERS.values()))
_KIND_OF = {marker: kind for kind, marker in MARKERS.items()}

Part = Mapping[str, str]
Message = dict[str, Any]


def conversation(prompt: str, num_images: int = 0, num_videos: int = 0, system: str = DEFAULT_SYSTEM) -> list[Message]:
    """The conversation of one question, with the system turn of every training sample; system="" leaves it out.

    (transformers' template adds none by itself.) Raises OVError as `user_message` does.
    """
    opening = [text_message("system", system)] if system else []
    return [*opening, user_message(prompt, num_images, num_videos)]


def text_message(role: str, text: str) -> Message:
    return {"role": role, "content": [{"type": "text", "text": text}]}


def user_message(prompt: str, num_images: int = 0, num_videos: int = 0) -> Message:
    """A user's turn. Markers `<image>` and `<video>` in the prompt are the places of the media, in order.

    Media of a kind that the prompt does not mark go first. Raises OVError (BAD_INPUT) when the prompt marks
    another number of a kind than there is.
    """
    marked = [_KIND_OF[marker] for marker in _MARKER.findall(prompt)]
    leading: list[Part] = []
    for kind, given in (("image", num_images), ("video", num_videos)):
        if kind not in marked:
            leading += [{"type": kind}] * given
        elif marked.count(kind) != given:
            raise OVError(
                ExitCode.BAD_INPUT,
                f"the prompt marks {marked.count(kind)} {kind}s with {MARKERS[kind]}, but {given} came with it",
                f"write one {MARKERS[kind]} per {kind}, or none to put them first",
            )
    return {"role": "user", "content": leading + _split(prompt)}


def inline_media(messages: Sequence[Mapping[str, Any]], video_marker: str = MARKERS["video"]) -> list[Message]:
    """The same conversation with one text per message, in which a marker stands where each medium was.

    Templates of Hugging Face checkpoints put a message's media before its text whatever their order, so the
    places are written here and the template sees text alone. As in training: one medium alone goes to the
    front, with a newline after it (LLaVA-NeXT `preprocess_multimodal`); several stay where they are. A medium
    that leads its message gets a newline after it if nothing separates it from what follows, like the
    template gives it. Raises OVError (BAD_INPUT) for a role or a part of another kind.
    """
    markers = {**MARKERS, "video": video_marker}
    return [text_message(_role(message), _inline(_parts(message), markers)) for message in messages]


def media_kinds(messages: Sequence[Mapping[str, Any]]) -> list[str]:
    """The kind of every medium in the conversation, in order: "image" or "video"."""
    return [part["type"] for message in messages for part in _parts(message) if part["type"] in MARKERS]


def _split(prompt: str) -> list[Part]:
    parts: list[Part] = []
    end = 0
    for found in _MARKER.finditer(prompt):
        parts += [{"type": "text", "text": prompt[end : found.start()]}, {"type": _KIND_OF[found.group()]}]
        end = found.end()
    return [part for part in [*parts, {"type": "text", "text": prompt[end:]}] if part.get("text") != ""]


def _inline(parts: Sequence[Part], markers: Mapping[str, str]) -> str:
    media = [part for part in parts if part["type"] in markers]
    if len(media) == 1 and parts[0] is not media[0]:
        return markers[media[0]["type"]] + "\n" + "".join(part.get("text", "") for part in parts).strip()
    pieces: list[str] = []
    leading = True
    for part, following in zip_longest(parts, parts[1:]):
        leading = leading and (part["type"] in markers or not part["text"].strip())
        pieces.append(markers.get(part["type"], part.get("text", "")))
        separated = following is not None and following.get("text", "")[:1].isspace()
        if leading and part["type"] in markers and not separated:
            pieces.append("\n")
    return "".join(pieces)


def _role(message: Mapping[str, Any]) -> str:
    role = message.get("role")
    if role not in ROLES:
        raise OVError(ExitCode.BAD_INPUT, f"a message has the role {role!r}", f"use one of {', '.join(ROLES)}")
    return str(role)


def _parts(message: Mapping[str, Any]) -> list[Part]:
    """The parts of a message that say something; a string stands for one text."""
    content = message.get("content")
    if isinstance(content, str):
        content = [{"type": "text", "text": content}]
    if not isinstance(content, Sequence):
        raise _bad_part(content)
    parts: list[Part] = []
    for part in content:
        kind = part.get("type") if isinstance(part, Mapping) else None
        if kind == "text" and isinstance(part.get("text"), str):
            parts += [{"type": "text", "text": part["text"]}] if part["text"] else []
        elif kind in MARKERS:
            parts.append({"type": kind})
        else:
            raise _bad_part(part)
    return parts


def _bad_part(part: object) -> OVError:
    return OVError(
        ExitCode.BAD_INPUT,
        f"a message has the content {str(part)[:80]!r}",
        'content is a list of {"type": "text", "text": ...}, {"type": "image"} and {"type": "video"}',
    )
