"""`ovrun serve`: parses, opens a session and runs the server. Imports nothing of the server extra until it must."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

from ovengines.errors import ExitCode, OVError
from ovrun.commands.flags import add_machine, open_session
from ovrun.terminal import Terminal

if TYPE_CHECKING:
    from ovrun.server.settings import Settings
    from ovrun.session import Session

EXTRA = ("starlette", "uvicorn", "h11", "anyio", "prometheus_client")
LOOPBACK = ("127.0.0.1", "::1", "localhost")
SUMMARY = "serve an OpenAI-compatible API, and a page to try it at /"
USAGE = "ovrun serve [-m BUNDLE] [--host ADDRESS] [--port N] [options]"


def arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("-m", "--model", metavar="BUNDLE", help="folder, or name in $OV_HOME/bundles (or newest)")
    add("--host", default="127.0.0.1", metavar="ADDRESS", help="default: 127.0.0.1, for this machine only")
    add("--port", type=int, default=8000, metavar="N", help="default: 8000; 0 takes one that is free")
    add("--slots", type=int, default=4, metavar="N", help="answers that are decoded together (default: 4)")
    add("--queue", type=int, default=64, metavar="N", help="requests that may wait, others get 429 (default: 64)")
    add("--timeout", type=float, default=300, metavar="S", help="seconds that a request may take (default: 300)")
    add("--grace", type=float, default=30, metavar="S", help="seconds to finish when told to stop (default: 30)")
    guards = parser.add_argument_group("guards").add_argument
    guards("--api-key", metavar="KEY", help="that clients must send (or $OV_API_KEY, which ps does not show)")
    guards(
        "--allow-url",
        action="append",
        default=[],
        metavar="PREFIX",
        help="fetch media from addresses that begin so; repeatable (default: from none)",
    )
    guards("--max-body", type=int, metavar="BYTES", help="largest request (default: 64 MiB)")
    guards("--max-connections", type=int, metavar="N", help="open at a time (default: 1000)")
    add_machine(parser)
    output = parser.add_argument_group("output").add_argument
    output("-q", "--quiet", action="store_true", help="no start line, no warnings")
    output("-v", "--verbose", action="count", default=0, help="a line per request; twice for more")
    output("--debug", action="store_true", help="show the traceback of an error")


def run(args: argparse.Namespace, terminal: Terminal) -> None:
    """Returns when the server was told to stop (SIGINT, SIGTERM). Raises OVError for what is wrong at the start."""
    _need_extra()
    from ovrun.server.run import listen, make_server, run_until_told

    settings = _settings(args)
    with listen(args.host, args.port) as sock, open_session(args, terminal) as session:
        if args.host not in LOOPBACK and not settings.api_key:
            terminal.note("warning", f"anybody who reaches {args.host} can ask: there is no --api-key")
        port = sock.getsockname()[1]
        told = "" if args.quiet else _start_lines(session, args.host, port, has_key=bool(settings.api_key))
        run_until_told(make_server(session, settings, lambda: terminal.write(told)), sock)


def _need_extra() -> None:
    for name in EXTRA:
        try:
            __import__(name)
        except ModuleNotFoundError as err:
            raise OVError(
                ExitCode.MISSING_DEPENDENCY, f"ovrun serve needs the package {name}", "pip install 'ovexport[server]'"
            ) from err


def _settings(args: argparse.Namespace) -> Settings:
    from ovrun.limits import limit_value
    from ovrun.server.fetch import allow
    from ovrun.server.run import connections_within
    from ovrun.server.settings import Settings

    max_body_bytes = limit_value("body_bytes") if args.max_body is None else args.max_body
    max_connections = limit_value("connections") if args.max_connections is None else args.max_connections
    for name, value, least in (
        ("--slots", args.slots, 1),
        ("--queue", args.queue, 0),
        ("--timeout", args.timeout, 0.001),
        ("--grace", args.grace, 0),
        ("--max-body", max_body_bytes, 1),
        ("--max-connections", max_connections, 1),
    ):
        if not least <= value < float("inf"):
            raise OVError(ExitCode.USAGE, f"{name} is {value}", f"it should be at least {least}")
    return Settings(
        slots=args.slots,
        queue=args.queue,
        timeout_s=args.timeout,
        grace_s=args.grace,
        max_body_bytes=max_body_bytes,
        max_connections=connections_within(max_connections),
        api_key=_key(args.api_key),
        allowed_urls=tuple(allow(prefix) for prefix in args.allow_url),
        hosts=("localhost", "127.0.0.1", "::1", "[::1]") if args.host in LOOPBACK else None,
    )


def _key(given: str | None) -> str | None:
    """An empty key would be a guard that lets everybody in, so it is none. Raises OVError (USAGE)."""
    key = os.environ.get("OV_API_KEY") if given is None else given
    if given == "" or (key and not (key.isascii() and key.isprintable() and key == key.strip())):
        raise OVError(ExitCode.USAGE, "the API key is empty or not printable ASCII", "choose another one")
    return key or None


def _start_lines(session: Session, host: str, port: int, *, has_key: bool) -> str:
    manifest, shown = session.bundle.manifest, f"[{host}]" if ":" in host else host
    url = f"http://{shown}:{port}"
    key = ' -H "authorization: Bearer $OV_API_KEY"' if has_key else ""
    return (
        f"serving {manifest.source} ({manifest.precision}, {session.engine.name}) at {url}\n"
        f"try     curl {url}/v1/chat/completions -H 'content-type: application/json'{key} -d"
        f' \'{{"model": "default", "messages": [{{"role": "user", "content": "Hello"}}]}}\'\n'
    )
