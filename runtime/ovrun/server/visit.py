"""One request on its way through the server, from admission to its end, within its time. Lives on the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from starlette.requests import ClientDisconnect, Request

from ovengines.errors import ExitCode, OVError
from ovrun.question import Question
from ovrun.result import Result
from ovrun.server.refusal import refusal_of
from ovrun.server.reply import finish_reason
from ovrun.server.wire import ChatRequest
from ovrun.server.worker import Job, Said

if TYPE_CHECKING:
    from ovrun.server.service import Service

T = TypeVar("T")


class Visit:
    """Made by `Service.admit`: `begin` it, read its `pieces`, and `close` it however it ends."""

    def __init__(self, service: Service) -> None:
        self._service, self._settings = service, service.settings
        self._loop = asyncio.get_running_loop()
        self._came_s = self._loop.time()
        self._expired = self._loop.create_future()
        self._timer = self._loop.call_later(self._settings.timeout_s, self._expire)
        self._said: asyncio.Queue[Said] = asyncio.Queue()
        self._job: Job | None = None
        self._holds_place = self._is_closed = False
        self._outcome = ""  # none yet: nothing was asked
        self.result: Result | None = None

    def hurry(self, within_s: float) -> None:
        """The server is stopping: no more time than this."""
        if self._loop.time() + within_s < self._timer.when():
            self._timer.cancel()
            self._timer = self._loop.call_later(within_s, self._expire)

    async def begin(self, request: ChatRequest) -> None:
        """Up to the point where the answer can start. Raises OVError or Refusal for what is wrong with the request."""
        self._outcome = "cancelled"
        try:
            question = await self.within_time(self._question(request))
        except OVError:
            self._outcome = "error"
            raise
        self._job = Job(question, self._tell)
        self._service.worker.submit(self._job)

    async def _question(self, request: ChatRequest) -> Question:
        messages = await self.media_of(request)
        session = self._service.session
        work = partial(session.question, messages=messages, on_progress=self.check, **request.options)
        return await self._service.in_thread(work)

    def check(self, label: str, done: int, total: int) -> None:
        """Progress of work in a thread, which ends it when nobody waits for it any more. Raises OVError."""
        if self._is_closed:
            raise OVError(ExitCode.INTERRUPTED, "nobody waits for the answer")

    async def media_of(self, request: ChatRequest) -> list[dict[str, Any]]:
        """The messages with everything that they link to, once it is this request's turn. Raises OVError."""
        await self._service.ready.acquire()
        self._holds_place = True
        return await self._service.with_media(request)

    async def pieces(self) -> AsyncIterator[str]:
        """The answer as it comes; an empty piece after `ping_s` of silence. Then `result` is there.

        Raises Refusal: what went wrong, a time-out among it.
        """
        while self.result is None:
            try:
                said = await self.within_time(self._said.get(), self._settings.ping_s)
            except TimeoutError:
                yield ""
                continue
            if isinstance(said, OVError):
                self._outcome = "error"
                raise refusal_of(said)
            if isinstance(said, Result):
                self.result, self._outcome = said, finish_reason(said)
            else:
                yield said

    async def answer(self) -> Result:
        """The whole of it. Raises as `pieces`."""
        async for _ in self.pieces():
            pass
        assert self.result is not None
        return self.result

    async def within_time(self, work: Coroutine[Any, Any, T], at_most_s: float | None = None) -> T:
        """Wait for `work`. Raises Refusal (504) past the request's time, TimeoutError past `at_most_s`."""
        task = asyncio.ensure_future(work)
        try:
            waiting = {task, self._expired}
            await asyncio.wait(waiting, timeout=at_most_s, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        if not self._expired.done():
            raise TimeoutError
        self._outcome = self._outcome and "timeout"
        raise self._service.out_of_time()

    def close(self) -> None:
        """Give everything back; an answer that is still being made is cancelled."""
        if self._is_closed:
            return
        self._is_closed = True
        self._timer.cancel()
        if self._job is not None:
            self._job.is_cancelled = True
        self._leave_place()
        self._service.visits.discard(self)
        if self._outcome:
            self._service.metrics.count_end(self._outcome, self._loop.time() - self._came_s, self.result)

    def _expire(self) -> None:
        if not self._expired.done():
            self._expired.set_result(None)

    def _tell(self, said: Said) -> None:
        """From the worker's thread. The loop may be gone when the server was made to stop at once."""
        try:
            self._loop.call_soon_threadsafe(self._hear, said)
        except RuntimeError:
            return

    def _hear(self, said: Said) -> None:
        self._said.put_nowait(said)
        if not isinstance(said, str):  # others may be made ready, however slowly the client reads this one
            self._leave_place()

    def _leave_place(self) -> None:
        if self._holds_place:
            self._holds_place = False
            self._service.ready.release()


async def until_gone(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """What `work` gives. Raises ClientDisconnect as soon as nobody waits for it any more; it is then cancelled."""
    task, leaving = asyncio.ensure_future(work), asyncio.ensure_future(_leave(request))
    try:
        await asyncio.wait({task, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise ClientDisconnect
    finally:
        task.cancel()
        leaving.cancel()
        await asyncio.gather(task, leaving, return_exceptions=True)


async def _leave(request: Request) -> None:
    """Returns when the client is gone. To be called once its body has been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
