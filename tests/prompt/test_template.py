"""Chat templates, rendered against transformers' apply_chat_template."""

from __future__ import annotations

import random
import time
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast
from transformers.utils.chat_template_utils import render_jinja_template

from ovengines.errors import ExitCode, OVError
from ovrun.prompt.template import render

TEXTS = ["", "What is shown?", " spaces ", "line\nbreak\n", '<b>&amp;"quoted"\'</b>', "图片 🖼", "{{ 7 * 7 }} {% if %}"]

# One feature of the templates in use each; the output of every one depends on the conversation.
TEMPLATES = {
    "trimmed blocks": """{% for m in messages %}
  {% if m.role == 'user' %}
U
  {% else %}
X
  {% endif %}
{% endfor %}
""",
    "json": "{% for m in messages %}{{ m | tojson }}{{ m['content'] | tojson(indent=2) }}{% endfor %}",
    "loop controls": "{% for m in messages %}{% if loop.index > 2 %}{% break %}{% endif %}{{ m.role }};{% endfor %}",
    "namespace": "{% set ns = namespace(n=0) %}{% for m in messages %}"
    "{% set ns.n = ns.n + m.content | length %}{% endfor %}{{ ns.n }}",
    "generation": "{% for m in messages %}{% generation %}{% set role = m.role %}{{ role }}{% endgeneration %}"
    "{{ role }}|{% endfor %}",
    "macro": "{% macro turn(m) %}[{{ m.role | upper }}]{% endmacro %}{% for m in messages %}{{ turn(m) }}{% endfor %}",
    "undefined": "{{ bos_token }}{% if tools %}T{% endif %}{% if documents is none %}D{% endif %}"
    "{{ messages | length }}",
    "arithmetic": "{% for m in messages %}{{ '-' * loop.index + '=' }}{{ 2 ** loop.index0 * 3 % 5 }}{{ [m] * 2 }}"
    "{{ '%s|%5s' % (m.role, 1.5) }}{{ '{:>9}'.format(m.role) }}{{ loop.length ~ m.role ~ loop.last }}{% endfor %}",
    "filters": "{% for role in messages | map(attribute='role') %}{{ role | center(20) | replace('s', 'ss') }}"
    "{{ role.ljust(12) }}{{ loop.revindex }}{{ ['a', role] | join('+') | indent(3) }}{{ role | batch(2) | list }}"
    "{{ '%s' | format(role) }}{{ -3 | abs }}{{ messages | length }}{% endfor %}",
    "recursive loop": "{% for m in messages recursive %}{{ m.role }}{{ loop.depth }}"
    "{% if loop.depth < 3 %}{{ loop(messages[:2]) }}{% endif %}{% endfor %}",
    "else and if": "{% for m in messages if m.role == 'user' %}{{ loop.index }}{% else %}none{% endfor %}"
    "{% for a in nothing %}{% else %}E{% endfor %}{% for k, v in messages[0].items() %}{{ k }}{% endfor %}",
    "prompt": "{{ messages[-1].role }}{% if add_generation_prompt %}>{% endif %}",
}


def random_messages(seed: int) -> list[dict[str, Any]]:
    rng = random.Random(seed)

    def part() -> dict[str, str]:
        return rng.choice(({"type": "image"}, {"type": "video"}, {"type": "text", "text": rng.choice(TEXTS)}))

    return [
        {"role": rng.choice(("system", "user", "assistant")), "content": [part() for _ in range(rng.randint(0, 5))]}
        for _ in range(rng.randint(1, 6))
    ]


def theirs(template: str, messages: list[dict[str, Any]], add_generation_prompt: bool) -> str:
    rendered, _ = render_jinja_template([messages], chat_template=template, add_generation_prompt=add_generation_prompt)
    return rendered[0]


@pytest.mark.parametrize("seed", range(60))
def test_onevision_template_equals_transformers(seed: int, onevision_template: str, tokenizer_path: Path) -> None:
    messages = random_messages(seed)
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(tokenizer_path), chat_template=onevision_template)
    for prompt in (True, False):
        expected = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=prompt)
        assert render(onevision_template, messages, prompt) == expected, f"seed {seed}: {messages}"


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("seed", range(10))
def test_every_feature_equals_transformers(name: str, seed: int) -> None:
    messages = random_messages(seed)
    texts = [{**m, "content": "".join(p.get("text", "") for p in m["content"])} for m in messages]
    for prompt in (True, False):
        # These templates do not read content parts, so they get strings, as those of plain language models do.
        assert render(TEMPLATES[name], messages, prompt) == theirs(TEMPLATES[name], texts, prompt), f"seed {seed}"


@pytest.mark.parametrize("seed", range(10))
def test_a_template_of_a_language_model_gets_strings(seed: int, text_only_template: str) -> None:
    messages = random_messages(seed)
    texts = [{**m, "content": "".join(p.get("text", "") for p in m["content"])} for m in messages]
    assert render(text_only_template, messages) == theirs(text_only_template, texts, True), f"seed {seed}"


def test_the_first_example_of_training(onevision_template: str) -> None:
    messages = [
        {"role": "system", "content": [{"type": "text", "text": "You are a helpful assistant."}]},
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is shown in this image?"}]},
    ]
    assert render(onevision_template, messages) == (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
        "<|im_start|>user\n<image>\nWhat is shown in this image?<|im_end|>\n<|im_start|>assistant\n"
    )


@pytest.mark.parametrize(
    "source",
    [
        *("{% for %}", "{{ 1 / 0 }}", "{{ nothing.at.all }}", "{% include 'x' %}", "{{ messages.append(1) }}"),
        *(
            "{{ ''.__class__.__mro__ }}",
            "{{ cycler.__init__.__globals__.os }}",
            "{% for i in range(10**9) %}{% endfor %}",
        ),
        *("{% generation %}", "{{ 'x' | nofilter }}", "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}"),
        *("{{ (messages | first).update(role='x') }}", "{{ '%d' % 'x' }}", "{{ messages[99].role.x }}"),
    ],
)
def test_a_broken_or_hostile_template_is_named(source: str) -> None:
    with pytest.raises(OVError, match="chat template") as caught:
        render(source, [{"role": "user", "content": [{"type": "text", "text": "hi"}]}])
    assert caught.value.code is ExitCode.BUNDLE_INVALID


def test_a_template_may_refuse_a_conversation() -> None:
    source = (
        "{% if messages[0].role != 'system' %}{{ raise_exception('a system turn comes first') }}{% endif %}"
        "{% for m in messages %}{% for part in m.content %}{{ part.text }}{% endfor %}{% endfor %}"
    )
    user = {"role": "user", "content": [{"type": "text", "text": "hi"}]}
    with pytest.raises(OVError, match="a system turn comes first") as caught:
        render(source, [user])
    assert caught.value.code is ExitCode.BAD_INPUT
    assert render(source, [{"role": "system", "content": [{"type": "text", "text": "be "}]}, user]) == "be hi"


def test_sizes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OV_MAX_PROMPT_CHARS", "1000")
    monkeypatch.setenv("OV_MAX_TEMPLATE_BYTES", "200")
    endless = "{% for i in range(90000) %}{% for j in range(90000) %}xxxxxxxxxx{% endfor %}{% endfor %}"
    for source, name in ((endless, "prompt_chars"), ("x" * 201, "template_bytes")):
        with pytest.raises(OVError, match=name) as caught:
            render(source, [{"role": "user", "content": []}])
        assert caught.value.code is ExitCode.LIMIT_EXCEEDED


# What takes much memory or time from a few characters.
_DOUBLING = (
    "{% set ns = namespace(x='aaaa') %}{% for i in range(40) %}{% set ns.x = STEP %}{% endfor %}{{ ns.x|length }}"
)
TOO_LONG = [
    *("{{ 'a' * 400000000 }}", "{{ 400000000 * 'a' }}", "{{ [0] * 400000000 }}", "{{ ('a' * 400000000) | upper }}"),
    *(_DOUBLING.replace("STEP", step) for step in ("ns.x ~ ns.x", "ns.x + ns.x", "[ns.x, ns.x] | join")),
    _DOUBLING.replace("STEP", "ns.x | replace('aaaa', 'aaaaaaaa')"),
    "{% macro twice(x) %}{{ x }}{{ x }}{% endmacro %}" + _DOUBLING.replace("STEP", "twice(ns.x)"),
]
TOO_MUCH = [
    *("{{ 9 ** (9 ** 9) }}", "{{ (9**999) ** 99999 }}", "{{ 1.5 | round(400000000, 'ceil') }}", "{{ lipsum(400000) }}"),
    "{% set ns = namespace(n=9) %}{% for i in range(40) %}{% set ns.n = ns.n * ns.n %}{% endfor %}",
    *("{{ 'a' | center(400000000) }}", "{{ 'a'.ljust(400000000) }}", "{{ ['a'] | batch(400000000, 0) | first }}"),
    *("{{ '%400000000d' % 1 }}", "{{ '%*d' % (400000000, 1) }}", "{{ '%400000000d' | format(1) }}"),
    *("{{ '{:400000000d}'.format(1) }}", "{{ '{:{}d}'.format(1, 400000000) }}"),
    "{{ ('a' * 900000) | replace('a', 'b' * 900000) }}",
    "{% for i in range(90000) %}{% for j in range(90000) %}{% endfor %}{% endfor %}",
    "{% for i in range(900) %}{% for j in range(90000) | map('string') %}{{ '' }}{% endfor %}{% endfor %}",
    "{% for i in range(900) recursive %}{% if loop.depth == 1 %}{{ loop(range(90000)) }}{% endif %}{% endfor %}",
    "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(60) }}",
]


def _refusal(source: str) -> OVError:
    begin = time.perf_counter()
    with pytest.raises(OVError) as caught:
        render(source, [{"role": "user", "content": []}])
    assert time.perf_counter() - begin < 20
    return caught.value


@pytest.mark.parametrize("source", TOO_LONG)
def test_a_string_as_long_as_no_prompt_may_be_is_never_made(source: str) -> None:
    tracemalloc.start()
    try:
        error = _refusal(source)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert error.code is ExitCode.LIMIT_EXCEEDED and "prompt_chars" in error.message, error.message
    assert peak_bytes < 60 << 20


@pytest.mark.parametrize("source", TOO_MUCH)
def test_work_without_end_is_cut_short(source: str) -> None:
    assert _refusal(source).code is ExitCode.BUNDLE_INVALID
