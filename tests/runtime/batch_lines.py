"""The lines of a batch on the pictures of the fixture `album`, and what `Session.generate` wants in them."""

from __future__ import annotations

import json
from typing import Any

from ovrun.session import Session

SAID = {"text", "finish_reason", "prompt_tokens", "completion_tokens"}
NAMES = ["album/a.png", "album/b.PNG", "album/deep/c.png"]


def lines_of(text: str | bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def expected(session: Session, **question: Any) -> dict[str, Any]:
    result = session.generate(**{"max_new_tokens": 6, "prompt": "Describe this image.", **question})
    return {name: getattr(result, name) for name in SAID}
