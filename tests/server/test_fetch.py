"""Addresses in requests: only what the allow-list names is fetched, and only from where it points to."""

from __future__ import annotations

import http.server
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from running_server import Running, running, user

from ovengines.errors import ExitCode, OVError
from ovrun.server.fetch import Fetcher, allow
from ovrun.session import Session


class Gallery(http.server.BaseHTTPRequestHandler):
    """Gives a picture, and everything that such a place could give instead."""

    picture = b""
    hits: list[str]

    def do_GET(self) -> None:
        self.hits.append(self.path)
        if self.path.startswith("/open/redirect"):
            self.send_response(302)
            self.send_header("location", "/open/picture.png")
            self.end_headers()
        elif self.path.startswith("/open/endless"):
            self.send_response(200)
            self.end_headers()
            self._write_for_long(b"x" * 65536, pause_s=0)
        elif self.path.startswith("/open/drip"):
            self._write_for_long(b"HTTP/1.0 200 OK\r\nx-a: b\r\n"[:1], pause_s=0.05)
        else:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(self.picture)

    def _write_for_long(self, piece: bytes, pause_s: float) -> None:
        end_s = time.monotonic() + 10
        try:
            while time.monotonic() < end_s:
                self.wfile.write(piece)
                time.sleep(pause_s)
        except OSError:
            return

    def log_message(self, *_: Any) -> None:
        return


@pytest.fixture(scope="module")
def gallery(picture: bytes) -> Iterator[str]:
    Gallery.picture, Gallery.hits = picture, []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Gallery) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def linked(url: str) -> list[dict[str, Any]]:
    return [user({"type": "image_url", "image_url": {"url": url}}, "How many shapes are there?")]


def test_a_picture_from_an_allowed_place(session: Session, alone: Session, gallery: str, picture: bytes) -> None:
    expected = alone.generate(prompt="How many shapes are there?", images=[picture])
    with running(session, allowed_urls=(allow(f"{gallery}/open/"),)) as served:
        heard = served.ask({"messages": linked(f"{gallery}/open/picture.png?size=2")})
        assert heard.json()["choices"][0]["message"]["content"] == expected.text
        for path in ("/secret", "/open/../secret", "/open/%2e%2e/secret", "/open/%252e%252e/secret"):
            assert served.ask({"messages": linked(gallery + path)}).code == "bad_input"
        assert not any("secret" in path for path in Gallery.hits)


@pytest.mark.parametrize(
    "url",
    [
        "{gallery}/open/picture.png",
        "http://169.254.169.254/latest/meta-data/",
        "http://localhost:22/",
        "file:///etc/passwd",
        "/etc/passwd",
        "ftp://example.com/x.png",
        "gopher://localhost/_x",
        "",
    ],
)
def test_nothing_is_fetched_without_an_allow_list(served: Running, gallery: str, url: str) -> None:
    Gallery.hits.clear()
    heard = served.ask({"messages": linked(url.format(gallery=gallery))})
    assert (heard.status, heard.code) == (400, "bad_input") and not Gallery.hits
    assert b"root:" not in heard.body


@pytest.mark.parametrize(
    "url",
    [
        "https://pictures.example:8443/a/x.png",
        "http://pictures.example/a/x.png",
        "https://pictures.example.evil.example/a/x.png",
        "https://pictures.example@evil.example/a/x.png",
        "https://evil.example/https://pictures.example/a/x.png",
        "https://evil.example#@pictures.example/a/x.png",
        "https://evil.example\\@pictures.example/a/x.png",
        "https://pictures.example\t.evil.example/a/x.png",
        "https://pictures.example/b/x.png",
        "https://pictures.example/a/../b/x.png",
        "https://pictures.example:x/a/",
        "https://[pictures.example/a/",
        "https://pıctures.example/a/x.png",
    ],
)
def test_what_only_looks_allowed(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("it asked for an address")

    monkeypatch.setattr("socket.getaddrinfo", never)
    with pytest.raises(OVError) as caught:
        Fetcher([allow("https://pictures.example/a/")], 1000, 1).fetch(url)
    assert caught.value.code is ExitCode.BAD_INPUT


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "192.168.0.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "::1",
        "::ffff:127.0.0.1",
        "fe80::1%1",
        "fd00::1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
    ],
)
def test_a_name_that_leads_into_a_private_network(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where only one of its addresses does, or it does so the second time."""
    found = [(0, 0, 0, "", ("93.184.215.14", 443)), (0, 0, 0, "", (address, 443))]
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: found)
    monkeypatch.setattr("socket.create_connection", lambda *_: pytest.fail("it connected"))
    with pytest.raises(OVError, match="private network"):
        Fetcher([allow("https://pictures.example/")], 1000, 1).fetch("https://pictures.example/x.png")


def test_the_address_that_was_checked_is_the_one_used(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def resolve(host: str, *_: object, **__: object) -> list[Any]:
        asked.append(host)
        return [(0, 0, 0, "", ("93.184.215.14" if len(asked) == 1 else "127.0.0.1", 443))]

    connected: list[Any] = []

    def connect(address: Any, *_: object) -> None:
        connected.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr("socket.getaddrinfo", resolve)
    monkeypatch.setattr("socket.create_connection", connect)
    with pytest.raises(OVError, match="ConnectionRefusedError"):
        Fetcher([allow("https://pictures.example/")], 1000, 1).fetch("https://pictures.example/x.png")
    assert connected == [("93.184.215.14", 443)]


@pytest.mark.parametrize(
    ("path", "code", "told"),
    [
        ("/open/redirect", ExitCode.BAD_INPUT, "redirect"),
        ("/open/endless", ExitCode.LIMIT_EXCEEDED, "over the limit of 100,000 bytes"),
        ("/open/drip", ExitCode.LIMIT_EXCEEDED, "longer than 0.5 s"),
    ],
)
def test_what_may_come_back(gallery: str, path: str, code: ExitCode, told: str) -> None:
    Gallery.hits.clear()
    began_s = time.monotonic()
    with pytest.raises(OVError, match=told) as caught:
        Fetcher([allow(f"{gallery}/")], 100_000, 0.5).fetch(gallery + path)
    assert caught.value.code is code and time.monotonic() - began_s < 5
    assert Gallery.hits in ([path], [])


@pytest.mark.parametrize("prefix", ["", "example.com", "ftp://example.com/", "https://", "https://me:pw@example.com/"])
def test_an_allow_list_that_makes_no_sense(prefix: str) -> None:
    with pytest.raises(OVError) as caught:
        allow(prefix)
    assert caught.value.code is ExitCode.USAGE
