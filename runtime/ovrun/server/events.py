"""An answer as server-sent events, for as long as somebody listens."""

from __future__ import annotations

from collections.abc import AsyncIterator

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from ovrun.server.refusal import Refusal
from ovrun.server.reply import DONE, PING, Reply, event
from ovrun.server.visit import Visit

_HEADERS = {"cache-control": "no-cache", "x-accel-buffering": "no"}  # the latter for nginx in front


class EventStream(StreamingResponse):
    """Closes the visit in the end, also when the client leaves before the first byte."""

    def __init__(self, visit: Visit, reply: Reply) -> None:
        super().__init__(_events(visit, reply), headers=_HEADERS, media_type="text/event-stream")
        self._visit = visit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._visit.close()


async def _events(visit: Visit, reply: Reply) -> AsyncIterator[bytes]:
    yield reply.opening()
    try:
        async for piece in visit.pieces():
            yield reply.piece(piece) if piece else PING
    except Refusal as refusal:  # the status has been sent already
        yield event(refusal.error) + DONE
        return
    assert visit.result is not None
    yield reply.closing(visit.result)
