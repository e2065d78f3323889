"""Turns of conversations, what `Session.generate` answers to them, and lines that somebody gives to `ovrun chat`."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import pytest

from ovrun.session import Session

SHORT = ("--max-new-tokens", "9")


def give_lines(lines: tuple[str, ...], patch: pytest.MonkeyPatch) -> None:
    script = "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape")
    patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(script), encoding="utf-8"))


def turn(role: str, text: str, *media: tuple[str, Path]) -> dict[str, Any]:
    content = [{"type": kind, kind: str(path)} for kind, path in media]
    return {"role": role, "content": [*content, {"type": "text", "text": text}]}


SYSTEM = turn("system", "You are a helpful assistant.")


def conversation(session: Session, *questions: dict[str, Any], system: Any = SYSTEM) -> list[str]:
    """What `Session.generate` answers to each, after all the others."""
    messages, texts = [system] if system else [], []
    for question in questions:
        messages = [*messages, question]
        texts.append(session.generate(messages=messages, max_new_tokens=9).text)
        messages = [*messages, turn("assistant", texts[-1])]
    return texts


def texts_of(answers: list[Any]) -> list[str]:
    return [answer["text"] for answer in answers]
