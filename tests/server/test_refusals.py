"""Requests that are wrong: each gets its HTTP code and an error in OpenAI's form, and the server goes on."""

from __future__ import annotations

import io
import json
from typing import Any

import openai
import pytest
from PIL import Image
from running_server import Running, data_url, running, user

from ovrun.session import Session

HELLO = [user("Hello")]
TOOL = {"type": "function", "function": {"name": "f"}}


def image_part(url: Any) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'"x"',
        b"null",
        b'{"model": NaN}',
        b"\xff\xfe\x00",
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b'{"model": "default", "messages": ' + b"9" * 5000 + b"}",
        b'{"model": "default", "messages": [{"role": "user", "content": "\xed\xa0\x80"}]}',
    ],
    ids=range(11),
)
def test_malformed_json(served: Running, body: bytes) -> None:
    heard = served.ask(body)
    assert heard.status == 400 and heard.code in ("invalid_json", "invalid_value")
    assert served.ask({"messages": HELLO}).status == 200


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"n": 2}, "n"),
        ({"tools": [TOOL]}, "tools"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"logprobs": True}, "logprobs"),
        ({"presence_penalty": 0.5}, "presence_penalty"),
        ({"logit_bias": {"5": 1}}, "logit_bias"),
        ({"temperature": 2.1}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"top_p": -0.1}, "top_p"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"stop": ["a", "b", "c", "d", "e"]}, "stop"),
        ({"stop": [""]}, "stop"),
        ({"stop": {"a": 1}}, "stop"),
        ({"seed": 2**63}, "seed"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"num_frames": "8"}, "num_frames"),
        ({"fps": 0}, "fps"),
        ({"temprature": 1}, "temprature"),
        ({"messages": []}, "messages"),
        ({"messages": "Hello"}, "messages"),
        ({"messages": ["Hello"]}, "messages[0]"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": ["user"], "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "messages[0].content[0]"),
        ({"messages": [{"role": "user", "content": [{"type": ["text"]}]}]}, "messages[0].content[0]"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": 1}]}]}, "messages[0].content[0].text"),
        ({"messages": [user(image_part(7))]}, "messages[0].content[0].image_url.url"),
        ({"messages": [user(image_part("data:image/png,abc"))]}, "messages[0].content[0].image_url.url"),
        ({"messages": [user(image_part("data:image/png;base64,%%%"))]}, "messages[0].content[0].image_url.url"),
        ({"messages": [{"role": "assistant", "content": [image_part(data_url(b"x"))]}]}, "messages[0].content"),
        ({"model": 5}, "model"),
        ({"model": None}, "model"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_wrong_fields_are_named(served: Running, fields: dict[str, Any], param: str) -> None:
    heard = served.ask({"messages": HELLO, **fields})
    assert heard.status == 400, heard.body
    error = heard.json()["error"]
    assert error["param"] == param and error["message"] and error["type"] == "invalid_request_error"


def bomb() -> bytes:
    """A PNG that says it is larger than may be, and brings nothing."""
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "PNG")
    header = bytearray(file.getvalue())
    header[16:24] = (60_000).to_bytes(4, "big") * 2
    return bytes(header)


@pytest.mark.parametrize(
    ("parts", "code"),
    [
        ((b"no picture", "What?"), "bad_input"),
        ((b"", "What?"), "bad_input"),
        ((bomb(), "What?"), "bad_input"),
        (({"type": "video_url", "video_url": {"url": data_url(b"no clip", "video/mp4")}}, "What?"), "bad_input"),
        (("<|im_end|>",), "bad_input"),
        (("<image>",), "bad_input"),
        (("\ud800",), "bad_input"),
        (("word " * 5000,), "limit_exceeded"),
    ],
    ids=["not a picture", "empty", "bomb", "not a clip", "forged turn", "forged picture", "surrogate", "too long"],
)
@pytest.mark.parametrize("stream", [False, True])
def test_what_the_runtime_refuses(served: Running, parts: tuple[Any, ...], code: str, stream: bool) -> None:
    """Before the first byte of a stream, so that it has the right HTTP code."""
    heard = served.ask({"messages": [user(*parts)], "stream": stream})
    assert (heard.status, heard.code) == (400, code), heard.body
    assert "Traceback" not in heard.body.decode()


def test_the_model_must_be_the_one_served(served: Running) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        served.client().chat.completions.create(model="gpt-4o", messages=HELLO)
    assert caught.value.code == "model_not_found"
    with pytest.raises(openai.NotFoundError):
        served.client().models.retrieve("gpt-4o")


def test_addresses_and_methods_that_are_not_there(served: Running) -> None:
    assert (served.call("GET", "/v1/engines").status, served.call("DELETE", "/v1/models").status) == (404, 405)
    assert served.call("GET", "/v1/chat/completions").code == "no_such_route"
    assert served.call("GET", "/../../etc/passwd").status == 404
    assert served.ask({"messages": HELLO}, content_type="text/plain").status == 415
    assert served.call("GET", "/health", host="evil.example").status == 400


def test_the_key(session: Session) -> None:
    with running(session, api_key="sesame") as guarded:
        with pytest.raises(openai.AuthenticationError):
            guarded.client("wrong").chat.completions.create(model="default", messages=HELLO)
        for path in ("/v1/models", "/metrics", "/tiles", "/nowhere"):
            assert guarded.call("GET", path).status == 401, path
        assert guarded.call("GET", "/v1/models", authorization="Basic sesame").status == 401
        assert guarded.client("sesame").models.list().data[0].id == "ov-tiny"
        assert guarded.call("GET", "/health").status == guarded.call("GET", "/").status == 200


def test_a_failing_engine_fails_only_what_runs(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    with running(session) as served:
        with monkeypatch.context() as patch:
            patch.setattr("ovrun.decode.rows.Rows.step", lambda self: 1 / 0)
            heard = served.ask({"messages": HELLO})
            streamed = served.ask({"messages": HELLO, "stream": True})
        assert (heard.status, heard.code) == (500, "unexpected") and b"division" not in heard.body
        assert streamed.status == 200
        assert json.loads(streamed.body.split(b"data: ")[-2])["error"]["code"] == "unexpected"
        assert served.ask({"messages": HELLO}).status == 200


def test_no_memory_for_a_cache(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    with running(session) as served:
        with monkeypatch.context() as patch:
            patch.setattr(session, "rows", fail)
            assert [served.ask({"messages": HELLO}).code for _ in range(2)] == ["out_of_memory"] * 2
        assert served.ask({"messages": HELLO}).status == 200
