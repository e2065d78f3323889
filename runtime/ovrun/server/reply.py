"""What is sent back: results in the shapes of the OpenAI API, and the bytes of server-sent events."""

from __future__ import annotations

import json
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

from ovrun.result import Result

DONE = b"data: [DONE]\n\n"
PING = b": still here\n\n"  # a comment, which clients skip
_FINISH_REASONS = {"stop": "stop", "stop_string": "stop", "length": "length"}


@dataclass(frozen=True, kw_only=True)
class Reply:
    """The frame of one answer: what all its chunks have in common."""

    model: str
    fingerprint: str
    include_usage: bool = False
    id: str = field(default_factory=lambda: f"chatcmpl-{uuid.uuid4().hex}")
    created_s: int = field(default_factory=lambda: int(time.time()))

    def completion(self, result: Result) -> dict[str, Any]:
        """The whole answer at once."""
        message = {"role": "assistant", "content": result.text, "refusal": None}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish_reason(result)}
        return {**self._frame("chat.completion"), "choices": [choice], "usage": usage(result)}

    def opening(self) -> bytes:
        return self._chunk({"role": "assistant", "content": ""})

    def piece(self, text: str) -> bytes:
        return self._chunk({"content": text})

    def closing(self, result: Result) -> bytes:
        """Why it ended, what it cost if that was asked for, and the mark of the end."""
        last = self._chunk({}, finish_reason(result))
        if self.include_usage:
            last += event({**self._frame("chat.completion.chunk"), "choices": [], "usage": usage(result)})
        return last + DONE

    def _frame(self, kind: str) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": kind,
            "created": self.created_s,
            "model": self.model,
            "system_fingerprint": self.fingerprint,
        }

    def _chunk(self, delta: dict[str, str], finished: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finished}
        chunk = {**self._frame("chat.completion.chunk"), "choices": [choice]}
        return event({**chunk, "usage": None} if self.include_usage else chunk)


def event(data: dict[str, Any]) -> bytes:
    """One server-sent event."""
    return f"data: {json.dumps(data, ensure_ascii=False)}\n\n".encode()


def finish_reason(result: Result) -> str:
    return _FINISH_REASONS.get(result.finish_reason, "stop")


def usage(result: Result) -> dict[str, Any]:
    """Tokens, those of images and frames among the prompt's; cached are those whose keys and values were kept."""
    return {
        "prompt_tokens": result.prompt_tokens,
        "completion_tokens": result.completion_tokens,
        "total_tokens": result.prompt_tokens + result.completion_tokens,
        "prompt_tokens_details": {
            "cached_tokens": result.reused_tokens,
            "image_tokens": result.image_tokens,
            "text_tokens": result.prompt_tokens - result.image_tokens,
        },
    }
