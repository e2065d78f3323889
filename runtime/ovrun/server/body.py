"""Reads the bodies of requests: counted as they come, in bytes each and in all, within a time.

What a client declares (Content-Length) is only used to refuse it sooner.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
from starlette.requests import Request

from ovrun.server.refusal import Refusal

WHOLE_BODIES = 4  # of the greatest size that are held at a time


class Intake:
    """Bodies of at most `max_body_bytes`, each within `body_s` seconds."""

    def __init__(self, max_body_bytes: int, body_s: float) -> None:
        self._max_body_bytes, self._body_s = max_body_bytes, body_s
        self.held_bytes = 0

    @asynccontextmanager
    async def body(self, request: Request) -> AsyncIterator[bytes]:
        """The body, which counts as held until the context is left.

        Raises:
            Refusal: 413, 415, 408 or 429.
            ClientDisconnect: nobody is there any more.
        """
        self._check_head(request)
        chunks: list[bytes] = []
        counted = 0
        try:
            try:
                with anyio.fail_after(self._body_s):
                    async for chunk in request.stream():
                        counted += len(chunk)
                        self.held_bytes += len(chunk)
                        self._check_size(counted)
                        chunks.append(chunk)
            except TimeoutError:
                raise Refusal(408, f"the body took longer than {self._body_s:g} s", code="body_timeout") from None
            yield b"".join(chunks)
        finally:
            self.held_bytes -= counted

    def _check_head(self, request: Request) -> None:
        media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type != "application/json":  # also: no web page elsewhere can send that without being asked first
            raise Refusal(
                415, "the body must be JSON: send the header Content-Type: application/json", code="unsupported_media"
            )
        declared = request.headers.get("content-length", "0")
        self._check_size(int(declared) if declared.isdecimal() and len(declared) < 20 else 0)

    def _check_size(self, num_bytes: int) -> None:
        if num_bytes > self._max_body_bytes:
            raise Refusal(
                413,
                f"the body is over the limit of {self._max_body_bytes:,} bytes; whoever runs the server can raise it"
                " with --max-body",
                code="body_too_large",
            )
        if self.held_bytes > WHOLE_BODIES * self._max_body_bytes:
            raise Refusal(
                429, "too much is being sent at the same time", code="rate_limit_exceeded", headers={"retry-after": "2"}
            )
