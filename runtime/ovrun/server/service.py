"""Who may ask, and what requests share: the worker, the threads that make questions ready, and the bounds.

All of it runs on the event loop; what takes time is done in threads. Two bounds keep memory flat: how many requests
are in at all, and how many of them are so far that their pictures are tiles.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from ovrun.server.content import fill_links, has_links
from ovrun.server.fetch import Fetcher
from ovrun.server.metrics import Metrics
from ovrun.server.refusal import Refusal
from ovrun.server.settings import Settings
from ovrun.server.visit import Visit
from ovrun.server.wire import ChatRequest
from ovrun.server.worker import Worker
from ovrun.session import Session

READY_AHEAD = 2  # questions that are made ready while all slots are taken
THREADS = 2  # that make them ready

T = TypeVar("T")


class Service:
    """Made on any thread, used on one event loop between `start` and `close`."""

    def __init__(self, session: Session, settings: Settings, metrics: Metrics) -> None:
        self.session, self.settings, self.metrics = session, settings, metrics
        self.worker = Worker(session, settings.slots)
        self.visits: set[Visit] = set()
        self.is_stopping = False
        self.ready = asyncio.Semaphore(settings.slots + READY_AHEAD)
        self._fetcher = Fetcher(settings.allowed_urls, settings.max_body_bytes, settings.fetch_s)
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="ovrun-ready")
        self._links = ThreadPoolExecutor(settings.slots + READY_AHEAD, thread_name_prefix="ovrun-fetch")
        metrics.watch("ovrun_answers_running", "Answers that are being decoded.", lambda: self.worker.num_running)
        metrics.watch("ovrun_requests_in", "Requests that wait or are being answered.", lambda: len(self.visits))

    def start(self) -> None:
        self.worker.start()

    def stop_within(self, grace_s: float) -> None:
        """Admit nobody any more; who is in has this long."""
        self.is_stopping = True
        for visit in self.visits:
            visit.hurry(grace_s)

    def close(self) -> None:
        self.worker.close()
        for threads in (self._threads, self._links):
            threads.shutdown(wait=False, cancel_futures=True)

    def admit(self) -> Visit:
        """Room for one request, to be closed in any case. Raises as `refuse_if_full`."""
        self.refuse_if_full()
        visit = Visit(self)
        self.visits.add(visit)
        return visit

    def refuse_if_full(self) -> None:
        """Raises Refusal: 429, or 503 when stopping."""
        if self.is_stopping:
            raise Refusal(503, "the server is stopping", code="stopping", headers={"retry-after": "10"})
        if len(self.visits) >= self.settings.slots + self.settings.queue:
            raise Refusal(
                429,
                f"{len(self.visits)} requests are in already; ask again later",
                code="rate_limit_exceeded",
                headers={"retry-after": "1"},
            )

    def out_of_time(self) -> Refusal:
        """For a request whose time is over."""
        if self.is_stopping:
            return Refusal(503, "the server is stopping", code="stopping")
        return Refusal(
            504,
            f"no whole answer within {self.settings.timeout_s:g} s",
            code="timeout",
            headers={"x-should-retry": "false"},  # which the openai client heeds: it would be as slow again
        )

    async def in_thread(self, work: Callable[[], T]) -> T:
        """Work that takes the processor. Whoever stops waiting leaves it to end by itself, in one of few threads."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    async def with_media(self, request: ChatRequest) -> list[dict[str, Any]]:
        """The messages with what their links lead to. Raises OVError."""
        if not has_links(request.messages):
            return request.messages
        work = partial(fill_links, request.messages, self._fetcher.fetch)
        return await asyncio.get_running_loop().run_in_executor(self._links, work)
