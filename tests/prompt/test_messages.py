"""Conversations made from prompts, and where their media end up in the text."""

from __future__ import annotations

import itertools
import random

import pytest

from ovengines.errors import ExitCode, OVError
from ovrun.prompt.messages import conversation, inline_media, media_kinds, text_message, user_message
from ovrun.prompt.template import render

IMAGE, VIDEO = {"type": "image"}, {"type": "video"}


def text(value: str) -> dict[str, str]:
    return {"type": "text", "text": value}


def inlined(*parts: dict[str, str]) -> str:
    (message,) = inline_media([{"role": "user", "content": list(parts)}])
    assert [part["type"] for part in message["content"]] == ["text"]
    return message["content"][0]["text"]


@pytest.mark.parametrize(
    ("prompt", "images", "videos", "expected"),
    [
        # No marker: media first, as in training.
        ("Describe this.", 0, 0, "Describe this."),
        ("Describe this.", 1, 0, "<image>\nDescribe this."),
        ("Compare.", 3, 0, "<image>\n<image>\n<image>\nCompare."),
        ("What happens?", 0, 1, "<video>\nWhat happens?"),
        ("Both?", 1, 1, "<image>\n<video>\nBoth?"),
        ("", 1, 0, "<image>\n"),
        # One marker: it goes to the front, with what training had behind it.
        ("<image>\nWhat?", 1, 0, "<image>\nWhat?"),
        ("<image>What?", 1, 0, "<image>\nWhat?"),
        ("<image> What?", 1, 0, "<image> What?"),
        ("What is <image> this? ", 1, 0, "<image>\nWhat is  this?"),
        ("What?\n<image>", 1, 0, "<image>\nWhat?"),
        ("Watch <video> this", 0, 1, "<video>\nWatch  this"),
        # Several: they stay.
        ("Is <image> like <image>?", 2, 0, "Is <image> like <image>?"),
        ("<image> <image> Same?", 2, 0, "<image> <image> Same?"),
        ("<image><image>Same?", 2, 0, "<image>\n<image>\nSame?"),
        ("<image>\n<image>\nSame?", 2, 0, "<image>\n<image>\nSame?"),
        ("A<image><image>", 2, 0, "A<image><image>"),
        ("Is <image> in <video>?", 1, 1, "Is <image> in <video>?"),
        # A kind without a marker goes before the text.
        ("Is <image> there?", 1, 1, "<video>\nIs <image> there?"),
    ],
)
def test_where_media_go(prompt: str, images: int, videos: int, expected: str) -> None:
    (message,) = inline_media([user_message(prompt, images, videos)])
    assert message == text_message("user", expected)


@pytest.mark.parametrize("seed", range(100))
def test_media_and_words_keep_their_order(seed: int) -> None:
    rng = random.Random(seed)
    pieces = [rng.choice(("<image>", "<video>", "word", " ", "\n", "x < y")) for _ in range(rng.randint(2, 12))]
    prompt = "".join(pieces)
    message = user_message(prompt, pieces.count("<image>"), pieces.count("<video>"))
    kinds = media_kinds([message])
    assert [f"<{kind}>" for kind in kinds] == [piece for piece in pieces if piece in ("<image>", "<video>")]
    result = inlined(*message["content"])
    if len(kinds) == 1:
        assert (
            result.startswith(f"<{kinds[0]}>")
            and result.replace(f"<{kinds[0]}>", "").split() == prompt.replace(f"<{kinds[0]}>", "").split()
        ), f"seed {seed}: {prompt!r}"
    else:  # only newlines may be added, and only behind leading media
        assert "".join(result.split()) == "".join(prompt.split()), f"seed {seed}: {prompt!r}"


@pytest.mark.parametrize(
    ("prompt", "images", "videos", "numbers"),
    [("<image> <image>", 1, 0, ("2", "1")), ("<image>", 0, 0, ("1", "0")), ("<video><video><video>", 0, 2, ("3", "2"))],
)
def test_another_number_of_markers_is_refused(prompt: str, images: int, videos: int, numbers: tuple[str, str]) -> None:
    with pytest.raises(OVError) as caught:
        user_message(prompt, images, videos)
    assert caught.value.code is ExitCode.BAD_INPUT
    assert all(number in caught.value.message for number in numbers)


def test_the_system_turn_of_training_is_there_unless_emptied() -> None:
    assert conversation("Hi")[0] == text_message("system", "You are a helpful assistant.")
    assert conversation("Hi", system="Be brief.")[0] == text_message("system", "Be brief.")
    assert [message["role"] for message in conversation("Hi", system="")] == ["user"]


@pytest.mark.parametrize("media", [n for k in range(4) for n in itertools.product((IMAGE, VIDEO), repeat=k)])
def test_leading_media_read_as_the_template_writes_them(media, onevision_template: str) -> None:
    # Where no order is lost (images, videos, text), our text and the published template's are the same.
    ordered = sorted(media, key=lambda part: part["type"])
    messages = [{"role": "user", "content": [*ordered, text("What?")]}, text_message("assistant", "A cat.")]
    assert render(onevision_template, inline_media(messages)) == render(onevision_template, messages)


def test_a_string_is_one_text_and_empty_texts_do_not_count() -> None:
    assert inline_media([{"role": "assistant", "content": "yes"}]) == [text_message("assistant", "yes")]
    assert inlined(text(""), IMAGE, text(""), text("What?")) == "<image>\nWhat?"
    assert inlined() == ""


def test_videos_can_be_marked_as_images() -> None:
    (message,) = inline_media([user_message("What happens?", 0, 1)], video_marker="<image>")
    assert message == text_message("user", "<image>\nWhat happens?")


@pytest.mark.parametrize(
    "message",
    [
        *({"role": "user<|im_end|>", "content": "x"}, {"role": "tool", "content": "x"}, {"content": "x"}),
        *({"role": "user"}, {"role": "user", "content": 5}, {"role": "user", "content": [5]}),
        *({"role": "user", "content": [{"type": "audio"}]}, {"role": "user", "content": [{"type": "text"}]}),
        {"role": "user", "content": [{"type": "text", "text": 5}]},
    ],
)
def test_other_messages_are_refused(message: dict) -> None:
    with pytest.raises(OVError) as caught:
        inline_media([message])
    assert caught.value.code is ExitCode.BAD_INPUT
