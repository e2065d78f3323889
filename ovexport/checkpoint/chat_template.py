"""The chat template of a checkpoint: a Jinja source as text, wherever the version that saved it put it.

Knows file names; does not render (`ovrun.prompt` does, in a sandbox). Where a checkpoint has none, as
LLaVA-NeXT's, it is the conversation that training used, `qwen_1_5`, without its system turn, which the
runtime adds.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

from ovexport.checkpoint.json_fields import Fields, bad_checkpoint


def read_chat_template(folder: Path, *, has_video_token: bool) -> str:
    """chat_template.jinja, else chat_template.json, else tokenizer_config.json, else the built-in one.

    Raises OVError (BAD_INPUT) if it is there but not text.
    """
    jinja = folder / "chat_template.jinja"
    if jinja.is_file():
        try:
            return jinja.read_text(encoding="utf-8")
        except UnicodeDecodeError as err:
            raise bad_checkpoint("chat_template.jinja is not UTF-8 text") from err
    for name in ("chat_template.json", "tokenizer_config.json", "processor_config.json"):
        template = Fields.read_if_there(folder / name).values.get("chat_template")
        if template is not None:
            return _default_of(template, name)
    return builtin_template(has_video_token=has_video_token)


def builtin_template(*, has_video_token: bool) -> str:
    """ChatML as in training. LLaVA-NeXT has no token for videos: it marks them as images."""
    source = (resources.files(__package__) / "chatml.jinja").read_text(encoding="utf-8")
    return source if has_video_token else source.replace("<video>", "<image>")


def _default_of(template: Any, where: str) -> str:
    """A string, or the one called "default" of a list of {name, template} (or of a mapping)."""
    if isinstance(template, str):
        return template
    if isinstance(template, list) and all(isinstance(item, dict) for item in template):
        template = {item.get("name"): item.get("template") for item in template}
    chosen = template.get("default") if isinstance(template, dict) else None
    if not isinstance(chosen, str):
        raise bad_checkpoint(f"{where}: chat_template is neither text nor a list with a default")
    return chosen
