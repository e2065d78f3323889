"""A byte-level tokenizer with ChatML's specials, and a chat template by the facts of the published ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tokenizers

from ovrun.prompt.tokenizer import Tokenizer

SPECIALS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<image>", "<video>")

CORPUS = (
    "system\nYou are a helpful assistant.\nuser\nDescribe this image. What is shown in the picture?\nassistant\n"
    "How many red circles are there? Compare the first and the second image. Ein Bild — 图片 🖼 ünïcödé\n"
)

# Media first whatever their order, each with a newline, then the text; the assistant's is marked for training.
ONEVISION = """\
{%- for message in messages -%}
{{- '<|im_start|>' + message['role'] + '\\n' -}}
{%- for content in message['content'] | selectattr('type', 'equalto', 'image') -%}{{- '<image>\\n' -}}{%- endfor -%}
{%- for content in message['content'] | selectattr('type', 'equalto', 'video') -%}{{- '<video>\\n' -}}{%- endfor -%}
{%- for content in message['content'] | selectattr('type', 'equalto', 'text') -%}
{%- if message['role'] == 'assistant' -%}{%- generation -%}{{- content['text'] -}}{%- endgeneration -%}
{%- else -%}{{- content['text'] -}}{%- endif -%}
{%- endfor -%}
{{- '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}
"""

# What a plain language model brings: content is a string, and there is a system turn by default.
TEXT_ONLY = """\
{% for message in messages %}{% if loop.first and message['role'] != 'system' %}
{{ '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}{% endif %}
{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}{% endfor %}
{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}
"""


def train_tokenizer(specials: tuple[str, ...]) -> tokenizers.Tokenizer:
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.normalizer = tokenizers.normalizers.NFC()
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator([CORPUS] * 3, trainer)
    tokenizer.add_special_tokens(list(specials))
    return tokenizer


@pytest.fixture(scope="session")
def onevision_template() -> str:
    return ONEVISION


@pytest.fixture(scope="session")
def text_only_template() -> str:
    return TEXT_ONLY


@pytest.fixture(scope="session")
def tokenizer_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    train_tokenizer(SPECIALS).save(str(path))
    return path


@pytest.fixture(scope="session")
def tokenizer(tokenizer_path: Path) -> Tokenizer:
    return Tokenizer(tokenizer_path)


@pytest.fixture(scope="session")
def tokenizer_without_video(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    train_tokenizer(SPECIALS[:-1]).save(str(path))
    return Tokenizer(path)


@pytest.fixture
def padded_tokenizer_path(tokenizer_path: Path, tmp_path: Path) -> Path:
    """The same file with truncation and padding switched on, as training leaves it at times."""
    raw = json.loads(tokenizer_path.read_text(encoding="utf-8"))
    raw["truncation"] = {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0}
    raw["padding"] = {
        "strategy": {"Fixed": 50},
        "direction": "Right",
        "pad_to_multiple_of": None,
        "pad_id": 0,
        "pad_type_id": 0,
        "pad_token": "!",
    }
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(raw), encoding="utf-8")
    return path
