"""Clients that take their time, or send without end: each has a bound, and others are served meanwhile."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Iterator

import pytest
from running_server import Running, endless_session, raw_request, read_all, read_until, running, until, user

from ovrun.session import Session

HELLO = {"messages": [user("Hello")]}
HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n"


@pytest.fixture(scope="module")
def strict(session: Session) -> Iterator[Running]:
    """A server that has little patience and little room."""
    with running(session, max_connections=50, max_body_bytes=200_000, head_s=1.0, body_s=0.5) as found:
        yield found


def held_open(port: int, number: int) -> list[socket.socket]:
    """Connections that each send half a head and then nothing."""
    socks = []
    for _ in range(number):
        sock = socket.create_connection(("127.0.0.1", port), timeout=30)
        sock.sendall(HEAD)
        socks.append(sock)
    return socks


def test_more_connections_than_there_is_room_for(strict: Running) -> None:
    """Four times as many as may be: those who ask are answered at once, and none of the others stays."""
    socks = held_open(strict.port, 200)
    began_s = time.monotonic()
    for _ in range(5):
        assert strict.ask(HELLO).status == 200
    assert len(strict.server.server_state.connections) <= 51
    until(lambda: not strict.server.server_state.connections, within_s=10)
    assert time.monotonic() - began_s < 10
    for sock in socks:
        sock.close()


def test_a_head_that_never_ends(strict: Running) -> None:
    """A byte now and then does not buy more time; nor on a connection that was good once."""
    for first in (b"", b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", strict.port), timeout=30) as sock:
            sock.sendall(first + HEAD)
            began_s = time.monotonic()
            with contextlib.suppress(ConnectionError):
                while time.monotonic() - began_s < 20:
                    sock.sendall(b"x: y\r\n")
                    time.sleep(0.1)
            assert time.monotonic() - began_s < 10


def test_a_head_without_bounds(strict: Running) -> None:
    with socket.create_connection(("127.0.0.1", strict.port), timeout=30) as sock:
        with contextlib.suppress(ConnectionError):
            for _ in range(100):
                sock.sendall(b"x" * 4096)
        told = read_all(sock)
        assert told == b"" or told.startswith(b"HTTP/1.1 400")  # cut off hard, the answer may be lost on the way


def test_a_body_that_drips(strict: Running) -> None:
    sock = raw_request(strict.port, b"{", "content-length: 1000\r\n")
    told = read_all(sock)
    assert told.startswith(b"HTTP/1.1 408") and b"body_timeout" in told


def test_a_body_that_says_it_is_too_large(strict: Running) -> None:
    """Refused before it is sent: whoever asks first (curl does) sends nothing in vain."""
    sock = raw_request(strict.port, b"", f"content-length: {1 << 30}\r\nexpect: 100-continue\r\n")
    assert read_until(sock, b"body_too_large").startswith(b"HTTP/1.1 413")
    sock.close()


@pytest.mark.parametrize("chunked", [True, False])
def test_a_body_that_does_not_end(strict: Running, chunked: bool) -> None:
    """Up to 1 GiB is sent, and cut off after about what was allowed; the answer still arrives."""
    head = "transfer-encoding: chunked\r\n" if chunked else f"content-length: {1 << 30}\r\n"
    sock = raw_request(strict.port, b"", head)
    piece = b" " * (1 << 16)
    piece = b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece
    num_sent = 0
    with contextlib.suppress(ConnectionError):
        while num_sent < 1 << 30:
            num_sent += sock.send(piece)
    assert num_sent < 1 << 26  # what is under way in the sockets included
    assert b"413" in read_all(sock)[:20]
    assert strict.ask(HELLO).status == 200


def test_many_bodies_together_are_bounded(strict: Running) -> None:
    """Each of an allowed size: beyond four of the largest they are refused, and room comes back."""
    socks = [raw_request(strict.port, b" " * 150_000, "content-length: 199999\r\n") for _ in range(10)]
    told = [read_all(sock) for sock in socks]
    statuses = sorted({answer.split()[1] for answer in told if answer})
    assert statuses == [b"408", b"429"]
    assert strict.ask(HELLO).status == 200


def test_a_client_that_does_not_read(session: Session) -> None:
    """Its answer is made, and others are; the connection ends when nothing was taken for a while."""
    chatty = endless_session(session, pause_s=0)
    with running(chatty, send_buffer_bytes=8192, slots=1, write_s=0.5) as served, socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect(("127.0.0.1", served.port))
        body = json.dumps({"model": "default", **HELLO, "stream": True, "max_tokens": 3900}).encode()
        length = f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        sock.sendall(HEAD + length.encode() + body)
        until(lambda: len(served.service.visits) == 1)
        assert served.ask({**HELLO, "max_tokens": 2}).status == 200
        until(lambda: not served.service.visits)
        assert b"[DONE]" not in read_all(sock)
