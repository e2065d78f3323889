"""Counts every response, and writes a line about it to the log at -v."""

from __future__ import annotations

import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ovrun.log import logger
from ovrun.server.metrics import Metrics
from ovrun.terminal import one_line


class Ledger:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status, began_s = 500, time.monotonic()

        async def note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, note)
        finally:
            self._metrics.count_response(status)
            spent_s = time.monotonic() - began_s
            logger.info("%s %s %d in %.3f s", scope["method"], one_line(scope["path"]), status, spent_s)
