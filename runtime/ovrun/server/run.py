"""Runs the application on uvicorn: which of its settings are used, and how it is stopped."""

from __future__ import annotations

import logging
import signal
import socket
from collections.abc import Callable
from functools import partial
from typing import Any

import uvicorn

from ovengines.errors import ExitCode, OVError
from ovrun.log import logger
from ovrun.server.app import build_app
from ovrun.server.metrics import Metrics
from ovrun.server.protocol import Crowd, PatientProtocol
from ovrun.server.service import Service
from ovrun.server.settings import Settings
from ovrun.session import Session

BACKLOG = 2048
SPARE_FILES = 64  # descriptors for everything but connections
LATE_S = 2  # after the grace time, to send what there is to say


class Server(uvicorn.Server):
    """Tells the service when it is to stop, and whoever wants to know when it has started."""

    def __init__(self, config: uvicorn.Config, service: Service, on_start: Callable[[], None]) -> None:
        super().__init__(config)
        self.service, self._on_start = service, on_start

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_start()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.service.stop_within(self.service.settings.grace_s)
        await super().shutdown(sockets)


def make_server(session: Session, settings: Settings, on_start: Callable[[], None] = lambda: None) -> Server:
    """A server to be run with `sockets=[listen(...)]`. All graphs of the session are loaded."""
    session.engine.load("vision", "projector", "decoder")
    metrics = Metrics()
    service = Service(session, settings, metrics)
    crowd = Crowd(max_connections=settings.max_connections, head_s=settings.head_s, write_s=settings.write_s)
    protocol: Any = partial(PatientProtocol, crowd=crowd)
    config = uvicorn.Config(
        build_app(service),
        http=protocol,
        ws="none",
        loop="asyncio",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_graceful_shutdown=int(settings.grace_s) + LATE_S,
    )
    server = Server(config, service, on_start)
    metrics.watch("ovrun_connections", "Open connections.", lambda: len(server.server_state.connections))
    return server


def run_until_told(server: Server, sock: socket.socket) -> None:
    """Serve until SIGINT or SIGTERM; then requests that run are answered, and it returns."""
    # What uvicorn says at lower levels is noise that any client can make.
    logging.getLogger("uvicorn").setLevel(logging.ERROR)
    # uvicorn raises the signal once more after it has stopped; with its default action that would be no clean end.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: setattr(server, "should_exit", True))
    server.run(sockets=[sock])


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises OVError (USAGE) where that is not possible."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except (OSError, OverflowError, UnicodeError) as err:
        reason = getattr(err, "strerror", None) or str(err)
        raise OVError(ExitCode.USAGE, f"can't listen on {host} port {port}: {reason}", "use another --port") from err


def connections_within(asked: int) -> int:
    """As many connections as asked for, or as the limit of open files allows, which is raised as far as it can be."""
    try:
        import resource
    except ImportError:  # not on Windows
        return asked
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = asked + SPARE_FILES
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return asked
    raised = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, raised), hard))
    allowed = max(1, raised - SPARE_FILES)
    if allowed < asked:
        logger.warning("%d connections at most: the system allows %d open files (ulimit -n)", allowed, raised)
    return min(asked, allowed)
