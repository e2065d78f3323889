"""The openai package as a client: what it gets is what a session gives that answers this question alone."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import pytest
from running_server import EXAMPLES, Running, data_url, user

from ovrun.result import Result
from ovrun.session import Session

QUESTIONS = ["Describe this image.", "How many shapes are there?", "What colour is the circle?"]


def check_usage(usage: Any, expected: Result) -> None:
    assert usage.prompt_tokens == expected.prompt_tokens
    assert usage.completion_tokens == expected.completion_tokens
    assert usage.total_tokens == expected.prompt_tokens + expected.completion_tokens
    assert usage.prompt_tokens_details.image_tokens == expected.image_tokens
    assert 0 <= usage.prompt_tokens_details.cached_tokens < expected.prompt_tokens


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_picture_whole_and_streamed(served: Running, alone: Session, picture: bytes, question: str) -> None:
    expected = alone.generate(prompt=question, images=[picture])
    asked: dict[str, Any] = {"model": "ov-tiny", "messages": [user(question, picture)]}
    whole = served.client().chat.completions.create(**asked)
    assert whole.choices[0].message.content == expected.text and whole.choices[0].finish_reason == "stop"
    assert whole.model == "ov-tiny" and whole.object == "chat.completion"
    check_usage(whole.usage, expected)
    streamed = list(
        served.client().chat.completions.create(**asked, stream=True, stream_options={"include_usage": True})
    )
    *chunks, last = streamed
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == expected.text
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices[0].finish_reason] == ["stop"]
    assert chunks[0].choices[0].delta.role == "assistant" and len({chunk.id for chunk in streamed}) == 1
    assert last.choices == []
    check_usage(last.usage, expected)


def test_text_alone_has_no_image_tokens(served: Running, alone: Session) -> None:
    expected = alone.generate(prompt="Hello there")
    whole = served.client().chat.completions.create(model="default", messages=[user("Hello there")])
    assert whole.choices[0].message.content == expected.text
    check_usage(whole.usage, expected)


@pytest.mark.parametrize("kind", ["video_url", "image_url"])
def test_a_clip(served: Running, alone: Session, clip: bytes, kind: str) -> None:
    expected = alone.generate(prompt="Describe this video.", video=clip, num_frames=4)
    part = {"type": kind, kind: {"url": data_url(clip, "video/mp4")}}
    whole = served.client().chat.completions.create(
        model="default", messages=[user("Describe this video.", part)], extra_body={"num_frames": 4}
    )
    assert whole.choices[0].message.content == expected.text and expected.tiles == 4
    check_usage(whole.usage, expected)


def test_several_pictures_and_turns(served: Running, alone: Session, picture: bytes) -> None:
    other = (EXAMPLES / "tile.png").read_bytes()
    turns: list[tuple[str, list[Any]]] = [
        ("developer", ["Be brief."]),
        ("user", ["What is in ", picture, " and in ", other, "?"]),
        ("assistant", ["A circle."]),
        ("user", ["How many shapes are there?"]),
    ]
    sent = [{"role": role, "content": user(*parts)["content"]} for role, parts in turns]
    own = [
        {"role": role.replace("developer", "system"), "content": [_own(part) for part in parts]}
        for role, parts in turns
    ]
    expected = alone.generate(messages=own)
    answer = served.client().chat.completions.create(model="default", messages=sent)
    assert answer.choices[0].message.content == expected.text
    check_usage(answer.usage, expected)


def _own(part: str | bytes) -> dict[str, Any]:
    return {"type": "text", "text": part} if isinstance(part, str) else {"type": "image", "image": part}


@pytest.mark.parametrize(
    ("sent", "own", "ended"),
    [
        ({"max_tokens": 3}, {"max_new_tokens": 3}, "length"),
        ({"max_completion_tokens": 2}, {"max_new_tokens": 2}, "length"),
        ({"stop": "and"}, {"stop_strings": ["and"]}, "stop"),
        ({"stop": ["zebra", "orange"]}, {"stop_strings": ["zebra", "orange"]}, "stop"),
        ({"temperature": 1.5, "seed": 7, "top_p": 0.9}, {"temperature": 1.5, "seed": 7, "top_p": 0.9}, "stop"),
        ({"temperature": 1, "seed": -1}, {"temperature": 1, "seed": 2**64 - 1}, "stop"),
        ({"top_p": 0, "temperature": 2}, {}, "stop"),
        ({"extra_body": {"max_tiles": 1}}, {"max_tiles": 1}, "stop"),
    ],
)
def test_options(
    served: Running, alone: Session, picture: bytes, sent: dict[str, Any], own: dict[str, Any], ended: str
) -> None:
    expected = alone.generate(prompt=QUESTIONS[0], images=[picture], **own)
    answer = served.client().chat.completions.create(model="default", messages=[user(picture, QUESTIONS[0])], **sent)
    assert answer.choices[0].message.content == expected.text
    assert answer.choices[0].finish_reason == ended
    check_usage(answer.usage, expected)


def test_models(served: Running) -> None:
    assert [model.id for model in served.client().models.list()] == ["ov-tiny"]
    assert served.client().models.retrieve("default").id == "ov-tiny"


def test_prompts_that_begin_alike_are_reused(served: Running, picture: bytes) -> None:
    asked: dict[str, Any] = {"model": "default", "messages": [user("Is there a zebra, once more?", picture)]}
    served.client().chat.completions.create(**asked)
    usage = served.client().chat.completions.create(**asked).usage
    assert usage is not None and usage.prompt_tokens_details is not None
    assert usage.prompt_tokens_details.cached_tokens == usage.prompt_tokens - 1


def test_what_clients_echo_is_taken(served: Running) -> None:
    """The whole dump of an answer as the next turn's history, nulls and all."""
    client = served.client()
    answer = client.chat.completions.create(model="default", messages=[user("Hello")]).choices[0].message
    messages: Any = [user("Hello"), answer.model_dump(), {"role": "user", "content": "Once more", "name": "me"}]
    again = client.chat.completions.create(model="default", messages=messages, n=1, user="me", logprobs=False)
    assert again.usage is not None and again.usage.prompt_tokens > 0


def test_curl(served: Running, alone: Session, picture: bytes, curl: Callable[..., str]) -> None:
    expected = alone.generate(prompt=QUESTIONS[1], images=[picture])
    url = f"data:image/png;base64,{base64.b64encode(picture).decode()}"
    content = f'[{{"type":"image_url","image_url":{{"url":"{url}"}}}},{{"type":"text","text":"{QUESTIONS[1]}"}}]'
    body = f'{{"model":"default","stream":true,"messages":[{{"role":"user","content":{content}}}]}}'
    told = curl(f"{served.url}/v1/chat/completions", "-N", "-H", "content-type: application/json", body=body)
    assert f'"content": "{expected.text.split()[0]}' in told and told.endswith("data: [DONE]\n\n")
    assert curl(f"{served.url}/health") == '{"status":"ok"}'
