"""What a body asks for: the fields of an OpenAI chat completion request, each looked at before anything is done.

As the OpenAI API does, a field that is not known is refused, not ignored; so is one that would change the answer and
that this server can't do. Three kinds of fields are taken: OpenAI's, this runtime's own, and those without effect.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from ovrun.prompt.messages import Message
from ovrun.server.content import read_messages
from ovrun.server.refusal import Refusal


@dataclass(frozen=True, kw_only=True, eq=False)
class ChatRequest:
    """`options` are arguments of `Session.question`; the media in the messages are bytes or Links."""

    messages: list[Message]
    options: dict[str, Any]
    stream: bool
    include_usage: bool


@dataclass(frozen=True, kw_only=True)
class _Field:
    option: str
    holds: Callable[[Any], bool]
    wanted: str


def _is_whole(value: object, least: int, most: int = 2**63 - 1) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _is_number(value: object, least: float, most: float) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and least <= value <= most


def _is_stop(value: object) -> bool:
    stops = [value] if isinstance(value, str) else value
    return isinstance(stops, list) and len(stops) <= 4 and all(isinstance(stop, str) and stop for stop in stops)


def _count(option: str) -> _Field:
    return _Field(option=option, holds=lambda n: _is_whole(n, 1), wanted="a whole number of at least 1")


_FIELDS = {
    "temperature": _Field(option="temperature", holds=lambda t: _is_number(t, 0, 2), wanted="a number from 0 to 2"),
    "top_p": _Field(option="top_p", holds=lambda p: _is_number(p, 0, 1), wanted="a number from 0 to 1"),
    "max_tokens": _count("max_new_tokens"),
    "max_completion_tokens": _count("max_new_tokens"),
    "stop": _Field(
        option="stop_strings", holds=_is_stop, wanted="a string, or a list of at most 4, none of them empty"
    ),
    "seed": _Field(option="seed", holds=lambda s: _is_whole(s, -(2**63)), wanted="a whole number of at most 64 bits"),
    # The runtime's own, for those who know what is behind the API (`extra_body` of the openai client).
    "top_k": _Field(option="top_k", holds=lambda k: _is_whole(k, 0), wanted="a whole number of at least 0"),
    "repetition_penalty": _Field(
        option="repetition_penalty", holds=lambda r: _is_number(r, 1e-3, 1e3), wanted="a number above 0"
    ),
    "max_tiles": _count("max_tiles"),
    "anyres_multi": _Field(option="anyres_multi", holds=lambda b: isinstance(b, bool), wanted="true or false"),
    "num_frames": _count("num_frames"),
    "max_frames": _count("max_frames"),
    "fps": _Field(option="fps", holds=lambda f: _is_number(f, 1e-3, 1e3), wanted="frames per second, such as 1"),
}
_OWN = ("model", "messages", "stream", "stream_options")
_WITHOUT_EFFECT = (
    *("user", "store", "metadata", "service_tier", "safety_identifier"),
    *("prompt_cache_key", "prompt_cache_retention", "top_logprobs"),
)
# What can't be done, and the values that do not ask for it.
_CANNOT: dict[str, Collection[object]] = {
    "n": (1,),
    "logprobs": (False,),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "parallel_tool_calls": (True, False),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "logit_bias": ({},),
    "audio": (),
    "prediction": (),
    "reasoning_effort": (),
    "verbosity": (),
    "web_search_options": (),
}


def read_request(body: bytes, models: Collection[str]) -> ChatRequest:
    """The request in a body, for one of `models`. Raises Refusal: 400, or 404 for a model that is not there."""
    asked = {name: value for name, value in _object(body).items() if value is not None}
    _check_names(asked)
    _check_model(asked.get("model"), models)
    stream = _flag(asked, "stream")
    if "stream_options" in asked and not stream:
        raise Refusal(400, "stream_options is only for stream: true", code="invalid_value", param="stream_options")
    settings = asked.get("stream_options", {})
    if not isinstance(settings, dict):
        raise Refusal(400, "stream_options should be an object", code="invalid_value", param="stream_options")
    return ChatRequest(
        messages=read_messages(asked.get("messages")),
        options=_options(asked),
        stream=stream,
        include_usage=_flag(settings, "include_usage"),
    )


def _object(body: bytes) -> dict[str, Any]:
    try:
        asked = json.loads(body.decode(), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as err:
        raise Refusal(400, f"the body is not JSON: {str(err)[:200]}", code="invalid_json") from None
    if not isinstance(asked, dict):
        raise Refusal(400, "the body should be a JSON object", code="invalid_json")
    return asked


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _check_names(asked: Mapping[str, Any]) -> None:
    known = (*_OWN, *_FIELDS, *_WITHOUT_EFFECT, *_CANNOT)
    for name, value in asked.items():
        if name not in known:
            raise Refusal(400, f"unrecognized request argument: {name[:100]}", code="unknown_parameter", param=name)
        if name in _CANNOT and value not in _CANNOT[name]:
            raise Refusal(
                400, f"{name} is not supported with this value; leave it out", code="unsupported_value", param=name
            )


def _check_model(model: object, models: Collection[str]) -> None:
    if not isinstance(model, str):
        raise Refusal(400, "you must name a model", code="invalid_value", param="model")
    if model not in models:
        raise Refusal(
            404, f"the model {model[:200]!r} is not served here; GET /v1/models says which is", code="model_not_found"
        )


def _flag(asked: Mapping[str, Any], name: str) -> bool:
    value = asked.get(name)
    if value is not None and not isinstance(value, bool):
        raise Refusal(400, f"{name} should be true or false", code="invalid_value", param=name)
    return bool(value)


def _options(asked: Mapping[str, Any]) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for name, field in _FIELDS.items():
        if name not in asked:
            continue
        if not field.holds(asked[name]):
            raise Refusal(400, f"{name} should be {field.wanted}", code="invalid_value", param=name)
        options[field.option] = asked[name]
    if "seed" in options:
        options["seed"] %= 2**64
    if options.get("top_p") == 0:  # the likeliest token alone
        options["top_p"] = 1e-9
    return options
