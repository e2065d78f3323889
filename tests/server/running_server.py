"""A server of this process in a thread of its own, on a free port; and engines that take their time."""

from __future__ import annotations

import asyncio
import base64
import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import openai

from ovrun.server.run import Server, listen, make_server
from ovrun.server.settings import Settings
from ovrun.session import Session

EXAMPLES = Path(__file__).parents[2] / "examples"


class SlowEngine:
    """Another engine, with a pause before each step of the decoder."""

    def __init__(self, engine: Any, pause_s: float) -> None:
        self._engine, self.pause_s = engine, pause_s

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def decode(self, *args: Any, **settings: Any) -> Any:
        time.sleep(self.pause_s)
        return self._engine.decode(*args, **settings)


def endless_session(session: Session, pause_s: float) -> Session:
    """The same model, which never ends an answer by itself and takes at least `pause_s` per token."""
    model = replace(session.model, eos_token_ids=())
    manifest = replace(session.bundle.manifest, model=model)
    bundle = replace(session.bundle, manifest=manifest)
    engine: Any = SlowEngine(session.engine, pause_s)
    return Session(bundle, engine, session.tokenizer, session.template)


@dataclass(frozen=True, kw_only=True)
class Heard:
    """A response, read to its end."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """Of an error in the form of OpenAI."""
        return str(self.json()["error"]["code"])


class Running:
    """Where it listens, and what is in it."""

    def __init__(self, server: Server, port: int) -> None:
        self.server, self.service, self.port = server, server.service, port
        self.url = f"http://127.0.0.1:{port}"

    def client(self, key: str = "none") -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0, timeout=60)

    def call(self, method: str, path: str, content: bytes | None = None, **headers: str) -> Heard:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(
                method, path, content, {name.replace("_", "-"): value for name, value in headers.items()}
            )
            response = connection.getresponse()
            told = {name.lower(): value for name, value in response.getheaders()}
            return Heard(status=response.status, headers=told, body=response.read())
        finally:
            connection.close()

    def ask(self, body: Any, path: str = "/v1/chat/completions", **headers: str) -> Heard:
        """POST a chat request; a dictionary is completed with the model."""
        if isinstance(body, dict):
            body = json.dumps({"model": "default", **body}).encode()
        return self.call("POST", path, body, **{"content_type": "application/json", **headers})

    def metric(self, name: str) -> float:
        for line in self.call("GET", "/metrics").body.decode().splitlines():
            if line.startswith(f"{name} "):
                return float(line.split()[1])
        raise AssertionError(f"no metric {name}")


@contextmanager
def running(session: Session, send_buffer_bytes: int = 0, **settings: Any) -> Iterator[Running]:
    sock = listen("127.0.0.1", 0)
    if send_buffer_bytes:  # connections have that of the listening socket
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer_bytes)
    started = threading.Event()
    server = make_server(session, Settings(**{"hosts": ("localhost", "127.0.0.1"), **settings}), started.set)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[sock])), daemon=True)
    thread.start()
    assert started.wait(20)
    found = Running(server, sock.getsockname()[1])
    try:
        yield found
    finally:
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive()


def until(holds: Callable[[], bool], within_s: float = 20.0) -> None:
    """Wait for something that another thread does."""
    end_s = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < end_s, "it never came"
        time.sleep(0.01)


def raw_request(port: int, body: bytes, head: str = "") -> socket.socket:
    """A connection on which a chat request was sent, and nothing read."""
    sock = socket.create_connection(("127.0.0.1", port), timeout=30)
    length = "" if "ength" in head or "ransfer" in head else f"content-length: {len(body)}\r\n"
    lines = f"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n{length}{head}"
    sock.sendall(lines.encode() + b"\r\n" + body)
    return sock


def read_all(sock: socket.socket) -> bytes:
    """Everything until the other side ends it, or cuts it off."""
    chunks = []
    while True:
        try:
            chunk = sock.recv(1 << 16)
        except ConnectionError:
            break
        if not chunk:
            break
        chunks.append(chunk)
    return b"".join(chunks)


def read_until(sock: socket.socket, wanted: bytes) -> bytes:
    """Everything up to and with what is wanted: head and body of an answer may come in pieces."""
    told = b""
    while wanted not in told:
        chunk = sock.recv(1 << 16)
        assert chunk, f"it ended without {wanted!r}: {told!r}"
        told += chunk
    return told


def data_url(content: bytes, media_type: str = "image/png") -> str:
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"


def user(*parts: Any) -> dict[str, Any]:
    """A user's message: strings are text, bytes a picture."""
    content = [
        {"type": "text", "text": part}
        if isinstance(part, str)
        else {"type": "image_url", "image_url": {"url": data_url(part)}}
        if isinstance(part, bytes)
        else part
        for part in parts
    ]
    return {"role": "user", "content": content}
