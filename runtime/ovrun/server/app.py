"""The routes: what each address of the server does. Joins all other parts; decides nothing itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ovengines.errors import OVError
from ovrun.command import explain
from ovrun.log import logger
from ovrun.server.auth import KeyGuard
from ovrun.server.body import Intake
from ovrun.server.budget import budget
from ovrun.server.events import EventStream
from ovrun.server.ledger import Ledger
from ovrun.server.metrics import CONTENT_TYPE
from ovrun.server.page import page_routes
from ovrun.server.refusal import Refusal, refusal_of
from ovrun.server.reply import Reply
from ovrun.server.service import Service
from ovrun.server.visit import Visit, until_gone
from ovrun.server.wire import ChatRequest, read_request

CLIENT_IS_GONE = 499  # counted, never sent


class Api:
    """The endpoints over one service."""

    def __init__(self, service: Service) -> None:
        self._service, self._session = service, service.session
        bundle, settings = service.session.bundle, service.settings
        self._intake = Intake(settings.max_body_bytes, settings.body_s)
        self.model = bundle.manifest.source
        self._models = {self.model, self.model.rpartition("/")[2], bundle.path.resolve().name, "default"}
        self._created_s = int((bundle.path / "manifest.json").stat().st_mtime)
        self._reply = partial(Reply, model=self.model, fingerprint=f"fp_{bundle.sha256[:12]}")

    def routes(self) -> list[Route]:
        return [
            Route("/v1/chat/completions", self.chat, methods=["POST"]),
            Route("/v1/models", self.list_models),
            Route("/v1/models/{model:path}", self.show_model),
            Route("/tiles", self.tiles, methods=["POST"]),
            Route("/health", self.health),
            Route("/metrics", self.metrics),
            *page_routes(),
        ]

    async def chat(self, request: Request) -> Response:
        async with self._asked(request) as (visit, asked):
            await until_gone(request, visit.begin(asked))
            reply, stream = self._reply(include_usage=asked.include_usage), asked.stream
        del asked  # and with it the media
        return EventStream(visit, reply) if stream else await self._whole(request, visit, reply)

    async def _whole(self, request: Request, visit: Visit, reply: Reply) -> Response:
        try:
            return JSONResponse(reply.completion(await until_gone(request, visit.answer())))
        finally:
            visit.close()

    async def tiles(self, request: Request) -> Response:
        """The tiles and tokens of a chat request that is not asked (yet); this server's own."""
        async with self._asked(request) as (visit, asked):
            found = await until_gone(request, visit.within_time(self._budget(visit, asked)))
            visit.close()
        return JSONResponse(found)

    async def _budget(self, visit: Visit, asked: ChatRequest) -> dict[str, Any]:
        messages = await visit.media_of(asked)
        return await self._service.in_thread(partial(budget, self._session, messages, asked.options, visit.check))

    @asynccontextmanager
    async def _asked(self, request: Request) -> AsyncIterator[tuple[Visit, ChatRequest]]:
        """A request that is admitted; its body counts as held until the context is left.

        The visit is closed only if something goes wrong in the context.
        """
        self._service.refuse_if_full()  # before anything is read
        async with self._intake.body(request) as body:
            asked = await self._service.in_thread(partial(read_request, body, self._models))
            visit = self._service.admit()
            try:
                yield visit, asked
            except BaseException:
                visit.close()
                raise

    async def list_models(self, request: Request) -> Response:
        return JSONResponse({"object": "list", "data": [self._card()]})

    async def show_model(self, request: Request) -> Response:
        name = request.path_params["model"]
        if name not in self._models:
            raise Refusal(404, f"the model {name[:200]!r} is not served here", code="model_not_found", param="model")
        return JSONResponse(self._card())

    async def health(self, request: Request) -> Response:
        stopping = self._service.is_stopping
        return JSONResponse({"status": "stopping" if stopping else "ok"}, 503 if stopping else 200)

    async def metrics(self, request: Request) -> Response:
        return Response(self._service.metrics.text(), headers={"content-type": CONTENT_TYPE})

    def _card(self) -> dict[str, Any]:
        return {"id": self.model, "object": "model", "created": self._created_s, "owned_by": "ovexport"}


def build_app(service: Service) -> Starlette:
    """The server as an ASGI application; it starts and closes the service."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        service.start()
        try:
            yield
        finally:
            await asyncio.to_thread(service.close)

    settings = service.settings
    middleware = [Middleware(Ledger, metrics=service.metrics)]
    if settings.hosts is not None:
        middleware.append(Middleware(TrustedHostMiddleware, allowed_hosts=list(settings.hosts), www_redirect=False))
    if settings.api_key:
        middleware.append(Middleware(KeyGuard, key=settings.api_key))
    return Starlette(
        routes=Api(service).routes(),
        middleware=middleware,
        exception_handlers={
            Refusal: _refused,
            OVError: _failed,
            HTTPException: _no_route,
            ClientDisconnect: _gone,
            Exception: _broken,
        },
        lifespan=lifespan,
    )


async def _refused(_: Request, refusal: Exception) -> Response:
    assert isinstance(refusal, Refusal)
    return refusal.response()


async def _failed(_: Request, error: Exception) -> Response:
    assert isinstance(error, OVError)
    refusal = refusal_of(error)
    if refusal.status >= 500:
        logger.error("a request failed: %s", error)
    return refusal.response()


async def _no_route(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return Refusal(error.status_code, error.detail, code="no_such_route", headers=error.headers).response()


async def _gone(_: Request, __: Exception) -> Response:
    return Response(status_code=CLIENT_IS_GONE)


async def _broken(_: Request, error: Exception) -> Response:
    """What nobody foresaw; Starlette raises it again after this, so that the log has it."""
    return refusal_of(explain(error)).response()
