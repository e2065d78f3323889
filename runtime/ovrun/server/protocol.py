"""Connections that dawdle: uvicorn's HTTP/1.1 protocol with an end to every kind of waiting for a client.

By itself uvicorn (read up to 0.54) waits forever for a head that never ends and for a client that never reads, reads
on after a request was answered before its body had come, and counts connections only once their head is there.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

UNREAD_BYTES = 1 << 20  # of a body that nobody wants; what is under way when the refusal is sent


@dataclass(kw_only=True, eq=False)
class Crowd:
    """All connections of a server. `waiting` are those without a request, the longest waiting first."""

    max_connections: int
    head_s: float
    write_s: float
    waiting: dict[PatientProtocol, None] = field(default_factory=dict)


class PatientProtocol(H11Protocol):
    """A connection. One more than `max_connections` costs the longest waiting one its place: a client that asks at
    once is heard however many there are that only hold the line."""

    def __init__(self, *args: Any, crowd: Crowd, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self._crowd = crowd
        self._head_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None
        self._unread_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect_head()
        if len(self.connections) > self._crowd.max_connections:
            next(iter(self._crowd.waiting)).give_up()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        self._stop_timer("_write_timer")
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._has_request:
            self._stop_waiting()
        elif self.cycle is not None and self.cycle.more_body:
            self._unread_bytes += len(data)
            if self._unread_bytes > UNREAD_BYTES:
                self.transport.close()

    def on_response_complete(self) -> None:
        self._expect_head()
        super().on_response_complete()
        if self._has_request:  # one that was sent before it was asked for (pipelining)
            self._stop_waiting()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._write_timer = self._write_timer or self.loop.call_later(self._crowd.write_s, self.give_up)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop_timer("_write_timer")

    def give_up(self) -> None:
        """End the connection without a word."""
        self._stop_waiting()
        self.transport.abort()

    @property
    def _has_request(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _expect_head(self) -> None:
        self._stop_waiting()
        self._unread_bytes = 0
        self._crowd.waiting[self] = None
        self._head_timer = self.loop.call_later(self._crowd.head_s, self.give_up)

    def _stop_waiting(self) -> None:
        self._crowd.waiting.pop(self, None)
        self._stop_timer("_head_timer")

    def _stop_timer(self, name: str) -> None:
        timer: asyncio.TimerHandle | None = getattr(self, name)
        if timer is not None:
            timer.cancel()
            setattr(self, name, None)
