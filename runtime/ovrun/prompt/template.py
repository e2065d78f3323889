"""Renders a checkpoint's chat template in jinja2's sandbox, as transformers renders it.

Knows jinja2 and the two shapes that templates expect of a message's content; nothing of tokens or of what a
good conversation is. A template is data from a stranger: its source, its output and its reach are bounded.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from ovengines.errors import ExitCode, OVError
from ovrun.limits import check_limit

Message = Mapping[str, Any]

_PROBE = "the text of a part"
_PROBE_KEY = "a key that a template has no reason to name"
_FAULTS_OF_A_TEMPLATE = (
    jinja2.TemplateError,
    TypeError,
    ValueError,
    LookupError,
    AttributeError,
    ArithmeticError,
    RecursionError,
    MemoryError,
)


class _Refusal(jinja2.TemplateError):
    """Raised by a template that calls raise_exception: it works, but not for this conversation."""


class _GenerationTag(jinja2.ext.Extension):
    """`{% generation %}...{% endgeneration %}`, which marks what is trained on: rendered as its body."""

    tags = {"generation"}  # noqa: RUF012 (declared by jinja2)

    def parse(self, parser: jinja2.parser.Parser) -> jinja2.nodes.Node:
        lineno = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return jinja2.nodes.Scope(body, lineno=lineno)  # what is set inside stays inside, as in transformers


def render(template_source: str, messages: Sequence[Message], add_generation_prompt: bool = True) -> str:
    """The conversation as one string.

    A message is {"role": ..., "content": [{"type": "text", "text": ...} | {"type": "image"} | {"type":
    "video"}]}. Templates of plain language models take a string as content: they get the texts of the list,
    joined; such a template cannot place media, so `messages.inline_media` comes first. Raises OVError:
    BUNDLE_INVALID for a template that does not compile or run, BAD_INPUT where the template itself refuses
    the conversation, LIMIT_EXCEEDED (template_bytes, prompt_chars) for sizes. Same text as transformers
    `apply_chat_template`.
    """
    template = _compile(template_source)
    if not _takes_lists(template_source):
        messages = [{**message, "content": _joined_text(message)} for message in messages]
    return _run(template, messages, add_generation_prompt)


@lru_cache(maxsize=8)
def _compile(source: str) -> jinja2.Template:
    check_limit("template_bytes", len(source.encode("utf-8", "replace")), "the chat template has")
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_GenerationTag, jinja2.ext.loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _refuse
    try:
        return environment.from_string(source)
    except _FAULTS_OF_A_TEMPLATE as err:
        raise _invalid("does not compile", err) from err


@lru_cache(maxsize=8)
def _takes_lists(source: str) -> bool:
    """Whether the template reads the parts of a content list, rather than fail on it or print it as it is."""
    probe = {"role": "user", "content": [{"type": "text", "text": _PROBE, _PROBE_KEY: ""}]}
    try:
        text = _run(_compile(source), [probe], True)
    except OVError as err:
        return err.code is ExitCode.BAD_INPUT  # it works, and refuses the probe
    return _PROBE in text and _PROBE_KEY not in text


def _run(template: jinja2.Template, messages: Sequence[Message], add_generation_prompt: bool) -> str:
    chunks, num_chars = [], 0
    try:
        for chunk in template.generate(
            messages=list(messages), add_generation_prompt=add_generation_prompt, tools=None, documents=None
        ):
            num_chars += len(chunk)
            check_limit("prompt_chars", num_chars, "the rendered conversation has")
            chunks.append(chunk)
    except _Refusal as err:
        raise OVError(
            ExitCode.BAD_INPUT, f"the chat template refuses this conversation: {err}", "change the order of its turns"
        ) from err
    except _FAULTS_OF_A_TEMPLATE as err:
        raise _invalid("does not run", err) from err
    return "".join(chunks)


def _joined_text(message: Message) -> str:
    content = message["content"]
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


def _refuse(message: object) -> None:
    raise _Refusal(str(message))


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """jinja2's own filter of this name escapes HTML, which a prompt is not."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _invalid(what: str, err: BaseException) -> OVError:
    finding = f"{type(err).__name__}: {str(err)[:200]}"
    return OVError(
        ExitCode.BUNDLE_INVALID,
        f"the chat template {what} ({finding})",
        "build the bundle again from a sound checkpoint",
    )
