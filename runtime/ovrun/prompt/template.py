"""Renders a checkpoint's chat template in jinja2's sandbox, as transformers renders it.

Knows jinja2 and the two shapes that templates expect of a message's content; nothing of tokens or of what a
good conversation is. A template is data from a stranger: its source, its output and its reach are bounded.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from functools import lru_cache, wraps
from typing import Any

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.parser
import jinja2.runtime
import jinja2.visitor
from jinja2.sandbox import ImmutableSandboxedEnvironment

from ovengines.errors import ExitCode, OVError
from ovrun.limits import check_limit, limit_error, limit_value

Message = Mapping[str, Any]

_PROBE = "the text of a part"
_PROBE_KEY = "a key that a template has no reason to name"
_STEPS = "steps left"  # no name that a template could write; see _Sandbox
MAX_STEPS = 1 << 18  # a conversation of the longest prompt takes some thousands
MAX_WORK = 1 << 26  # size of a filter's input times its largest argument
MAX_INTEGER_BITS = 1 << 12
MAX_FIELD = 10_000  # characters that a format pads to
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


class _Sandbox(ImmutableSandboxedEnvironment):
    """jinja2's own, which keeps a template from reaching out, with bounds on the memory and time that one takes.

    What makes much of little is checked before it runs: operators, filters and methods of strings by the sizes of
    their operands. Loops and calls count steps, which `_run` hands out per rendering. A string is never longer than
    a prompt may be. Work beyond that is an OverflowError, too long a string the LIMIT_EXCEEDED of prompt_chars.
    """

    intercepted_binops = frozenset({"*", "**", "%", "+"})

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        del self.globals["lipsum"]  # text at random, as much as is asked for
        self.filters = {name: _bounded(function) for name, function in self.filters.items()}
        self.filters |= {_Bounds.LOOPED: _looped, _Bounds.JOINED: _checked_text}

    def call_binop(self, context: jinja2.runtime.Context, operator: str, left: Any, right: Any) -> Any:
        _BINOP_CHECKS[operator](left, right)
        return super().call_binop(context, operator, left, right)

    def call(__self, __context: jinja2.runtime.Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        """Positional as in jinja2, so that no keyword of a template collides."""
        _spend(__context, 1)
        if isinstance(__obj, jinja2.runtime.LoopContext):
            args = tuple(_looped(__context, arg) for arg in args)
        receiver = getattr(getattr(__obj, "__wrapped__", __obj), "__self__", None)
        if isinstance(receiver, str):
            _check_work(receiver, *args, *kwargs.values())
            if getattr(__obj, "__name__", "") in ("format", "format_map"):
                _check_fields(receiver)
        return _checked_text(super().call(__context, __obj, *args, **kwargs))

    def _generate(self, source: jinja2.nodes.Template, *args: Any, **kwargs: Any) -> str:
        return super()._generate(_Bounds().visit(source), *args, **kwargs)


class _Bounds(jinja2.visitor.NodeTransformer):
    """Puts filters of ours around what the sandbox can't intercept: what is looped over, and `a ~ b`."""

    LOOPED, JOINED = "looped over", "joined"

    def visit_For(self, node: jinja2.nodes.For) -> jinja2.nodes.Node:
        self.generic_visit(node)
        node.iter = jinja2.nodes.Filter(node.iter, self.LOOPED, [], [], None, None, lineno=node.lineno)
        return node

    def visit_Concat(self, node: jinja2.nodes.Concat) -> jinja2.nodes.Node:
        self.generic_visit(node)
        return jinja2.nodes.Filter(node, self.JOINED, [], [], None, None, lineno=node.lineno)


@jinja2.pass_context
def _looped(context: jinja2.runtime.Context, items: Any) -> Any:
    if isinstance(items, Sized):
        _spend(context, len(items))
        return items
    return _counted(context, items) if isinstance(items, Iterator) else items


def _counted(context: jinja2.runtime.Context, items: Iterable[Any]) -> Iterator[Any]:
    for item in items:
        _spend(context, 1)
        yield item


def _spend(context: jinja2.runtime.Context, steps: int) -> None:
    left = context.parent[_STEPS]
    left[0] -= steps
    if left[0] < 0:
        raise OverflowError(f"more than {MAX_STEPS} calls and turns of loops")


def _bounded(function: Callable[..., Any]) -> Callable[..., Any]:
    """A filter that checks what it is given and what it makes; jinja2's marks on it are kept."""
    first = 1 if hasattr(function, "jinja_pass_arg") else 0  # after the context or environment

    @wraps(function)
    def bounded(*args: Any, **kwargs: Any) -> Any:
        _check_work(*args[first:], *kwargs.values())
        if function.__name__ == "do_format":
            _check_fields(args[first])
        return _checked_text(function(*args, **kwargs))

    return bounded


def _check_work(*operands: Any) -> None:
    """The largest two decide: how often something is repeated, and how long it is."""
    sizes = sorted(_size(operand) for operand in operands)
    if len(sizes) > 1 and sizes[-1] * sizes[-2] > MAX_WORK:
        raise OverflowError(f"a filter or method of sizes {sizes[-2]} and {sizes[-1]}")


def _check_repetition(left: Any, right: Any) -> None:
    sizes = (_size(left), _size(right))
    if isinstance(left, int) and isinstance(right, int):
        _check_integer(left.bit_length() + right.bit_length())
    elif isinstance(left, Sized) or isinstance(right, Sized):
        check_limit("prompt_chars", sizes[0] * sizes[1], "a string or list in the chat template has")


def _check_power(left: Any, right: Any) -> None:
    if isinstance(left, int) and isinstance(right, int):
        _check_integer(left.bit_length() * abs(right))


def _check_sum(left: Any, right: Any) -> None:
    if isinstance(left, Sized) and isinstance(right, Sized):
        check_limit("prompt_chars", len(left) + len(right), "a string or list in the chat template has")


def _check_format(left: Any, _: Any) -> None:
    if isinstance(left, str):
        _check_fields(left)


def _check_integer(bits: int) -> None:
    if bits > MAX_INTEGER_BITS:
        raise OverflowError(f"an integer of {bits} bits")


def _check_fields(text: Any) -> None:
    """Widths in the text itself; "*" and "{}" would take them from the arguments."""
    too_wide = any(int(number[:9]) > MAX_FIELD for number in re.findall(r"\d+", str(text)))
    if too_wide or re.search(r"%[^a-zA-Z%]*\*|\{[^}]*\{", str(text)):
        raise OverflowError(f"a format may not pad to more than {MAX_FIELD} characters")


_BINOP_CHECKS = {"*": _check_repetition, "**": _check_power, "+": _check_sum, "%": _check_format}


def _size(value: Any) -> int:
    """What repeating it, or repeating by it, costs; a list of strings counts their characters."""
    if isinstance(value, int):
        return abs(value)
    if isinstance(value, (list, tuple)):
        return sum(max(1, len(item)) if isinstance(item, str) else 1 for item in value)
    return len(value) if isinstance(value, Sized) else 1


def _checked_text(value: Any) -> Any:
    if isinstance(value, str) and len(value) > limit_value("prompt_chars"):
        raise limit_error("prompt_chars", f"a string in the chat template has {len(value):,} characters")
    return value


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
    environment = _Sandbox(trim_blocks=True, lstrip_blocks=True, extensions=[_GenerationTag, jinja2.ext.loopcontrols])
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
        variables = {"messages": list(messages), "add_generation_prompt": add_generation_prompt}
        for chunk in template.generate(variables, tools=None, documents=None, **{_STEPS: [MAX_STEPS]}):
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
