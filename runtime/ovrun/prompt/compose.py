"""A conversation as token ids, safely: what a user typed can neither forge a turn nor a place of an image.

The one way from messages to ids for everything that answers people. Knows no pixels and no visual tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ovengines.errors import ExitCode, OVError
from ovrun.limits import check_limit
from ovrun.prompt.messages import MARKERS, inline_media, media_kinds
from ovrun.prompt.template import render
from ovrun.prompt.tokenizer import Tokenizer


def encode_conversation(
    messages: Sequence[Mapping[str, Any]],
    template_source: str,
    tokenizer: Tokenizer,
    add_generation_prompt: bool = True,
) -> list[int]:
    """The ids of the conversation, with one marker id where an image or video belongs; `expand` comes next.

    A tokenizer without a video token (LLaVA-NeXT folders) gets videos marked as images, as in training; images must
    then come before videos. Raises OVError: BAD_INPUT for text that contains a special token (names it),
    BUNDLE_INVALID for a tokenizer without an image token, and whatever `inline_media` and `render` raise.
    """
    video_marker = MARKERS["video"]
    if tokenizer.token_id(video_marker) is None:
        video_marker = MARKERS["image"]
        kinds = media_kinds(messages)
        if kinds != sorted(kinds):
            raise OVError(
                ExitCode.BAD_INPUT,
                "this model does not tell videos from images, and a video comes before an image",
                "put the images first",
            )
    inlined = inline_media(messages, video_marker)
    check_limit("prompt_chars", sum(len(written["content"][0]["text"]) for written in inlined), "the messages have")
    for message, written in zip(messages, inlined, strict=True):
        num_media = len(media_kinds([message]))
        _refuse_special_tokens(written["content"][0]["text"], num_media, tokenizer)
    return tokenizer.encode(render(template_source, inlined, add_generation_prompt))


def _refuse_special_tokens(text: str, num_media: int, tokenizer: Tokenizer) -> None:
    """Look at the ids, not at the text: then whatever the tokenizer would read as a special token is found."""
    marker_ids = {tokenizer.token_id(marker) for marker in MARKERS.values()}
    ids = tokenizer.encode(text)
    forged = [id_ for id_ in ids if id_ in tokenizer.special_tokens and id_ not in marker_ids]
    placed = [id_ for id_ in ids if id_ in marker_ids]
    if not forged and len(placed) == num_media:
        return
    if not forged and len(placed) < num_media:
        raise OVError(
            ExitCode.BUNDLE_INVALID,
            f"the tokenizer knows {len(placed)} of {num_media} image and video markers",
            "build the bundle again from a checkpoint whose tokenizer has an <image> token",
        )
    if forged:
        finding = f"the text contains the special token {tokenizer.special_tokens[forged[0]]}"
    else:
        finding = f"the text contains {tokenizer.decode(placed[:1], skip_special_tokens=False)} where no medium belongs"
    raise OVError(ExitCode.BAD_INPUT, finding, "write it differently, for example with a space inside")
