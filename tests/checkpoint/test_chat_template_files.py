"""Which file the chat template is read from, and what the built-in one renders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment

from ovengines.errors import OVError
from ovexport.checkpoint.chat_template import builtin_template, read_chat_template

LEGACY = "{% for m in messages %}{{'<|im_start|>' + m['role'] + ' '}}{% endfor %}"  # August 2024


def write(folder: Path, **files: Any) -> None:
    for stem, content in files.items():
        if stem == "jinja":
            (folder / "chat_template.jinja").write_text(content)
        else:
            (folder / f"{stem}.json").write_text(json.dumps({"chat_template": content}))


def test_order_of_the_files(tmp_path: Path) -> None:
    named = [{"name": "tool_use", "template": "no"}, {"name": "default", "template": "from a list"}]
    assert read_chat_template(tmp_path, has_video_token=True) == builtin_template(has_video_token=True)
    write(tmp_path, processor_config="from the processor")
    assert read_chat_template(tmp_path, has_video_token=True) == "from the processor"
    write(tmp_path, tokenizer_config=named)
    assert read_chat_template(tmp_path, has_video_token=True) == "from a list"
    write(tmp_path, chat_template=LEGACY)
    assert read_chat_template(tmp_path, has_video_token=True) == LEGACY
    write(tmp_path, jinja="from jinja")
    assert read_chat_template(tmp_path, has_video_token=True) == "from jinja"


@pytest.mark.parametrize("content", [7, [], [{"name": "other", "template": "x"}], {"default": 3}])
def test_templates_that_are_none(tmp_path: Path, content: Any) -> None:
    write(tmp_path, tokenizer_config=content)
    with pytest.raises(OVError, match="chat_template"):
        read_chat_template(tmp_path, has_video_token=True)


def render(messages: list[dict[str, Any]], *, prompt: bool = True, video: bool = True) -> str:
    template = ImmutableSandboxedEnvironment().from_string(builtin_template(has_video_token=video))
    return template.render(messages=messages, add_generation_prompt=prompt)


def test_builtin_is_qwen_1_5_with_images_first() -> None:
    """LLaVA-NeXT llava/conversation.py, its system turn given."""
    question = [{"type": "text", "text": " What is  shown?\n"}, {"type": "image"}, {"type": "image"}]
    messages = [
        {"role": "system", "content": "You are a helpful assistant."},
        {"role": "user", "content": question},
        {"role": "assistant", "content": [{"type": "text", "text": "A cat."}]},
        {"role": "user", "content": "Sure?"},
    ]
    turns = (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
        "<|im_start|>user\n<image>\n<image>\n What is  shown?\n<|im_end|>\n"
        "<|im_start|>assistant\nA cat.<|im_end|>\n"
        "<|im_start|>user\nSure?<|im_end|>\n"
    )
    assert render(messages) == turns + "<|im_start|>assistant\n"
    assert render(messages, prompt=False) == turns


def test_llava_next_marks_videos_as_images() -> None:
    messages = [{"role": "user", "content": [{"type": "video"}, {"type": "text", "text": "<3"}]}]
    assert render(messages, prompt=False) == "<|im_start|>user\n<video>\n<3<|im_end|>\n"
    assert render(messages, prompt=False, video=False) == "<|im_start|>user\n<image>\n<3<|im_end|>\n"
