"""Fetches a picture or a clip that a request only links to: from nowhere, unless an allow-list names the place.

Redirects are refused, addresses of private networks too, and the address that was checked is the one connected to, so
that a name can't change its meaning in between. No proxy is used. Knows nothing of what is fetched.
"""

from __future__ import annotations

import http.client
import ipaddress
import re
import socket
import ssl
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import SplitResult, unquote, urlsplit

from ovengines.errors import ExitCode, OVError

PORTS = {"http": 80, "https": 443}
CHUNK_BYTES = 1 << 16
_STRANGE = re.compile(r"[\x00-\x20\x7f-\U0010ffff\\]")  # in which parsers of addresses see different things
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_HINT = "send it as a data URL (data:image/png;base64,...)"


@dataclass(frozen=True, kw_only=True)
class AllowedPrefix:
    """One entry of the allow-list: scheme, host and port must be these, the path must begin with `path`."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def names_address(self) -> bool:
        """Whether the entry is an IP address (or localhost), which may then be a private one."""
        return self.host == "localhost" or _ip(self.host) is not None


@dataclass(frozen=True, kw_only=True)
class Link:
    """What stands in a request where a data URL could."""

    url: str


def allow(prefix: str) -> AllowedPrefix:
    """An entry from text such as https://example.com/pictures/. Raises OVError (USAGE)."""
    try:
        parts, port = _split(prefix)
    except ValueError as err:
        raise OVError(
            ExitCode.USAGE, f"--allow-url {prefix!r}: {err}", "give the beginning of an address: https://example.com/"
        ) from err
    path = parts.path or "/"
    return AllowedPrefix(scheme=parts.scheme, host=str(parts.hostname), port=port, path=path)


class Fetcher:
    """Gets at most `max_bytes` within `time_s` seconds. May be used from several threads."""

    def __init__(self, allowed: Sequence[AllowedPrefix], max_bytes: int, time_s: float) -> None:
        self._allowed, self._max_bytes, self._time_s = allowed, max_bytes, time_s

    def fetch(self, url: str) -> bytes:
        """What is at `url`. Raises OVError: BAD_INPUT, or LIMIT_EXCEEDED for its size or the time it takes."""
        entry, target = self._entry(url)
        connection = _Pinned(entry, _address(entry), self._time_s)
        timer = threading.Timer(self._time_s, connection.cut)
        timer.start()
        try:
            connection.request("GET", target, headers={"Accept": "image/*, video/*", "User-Agent": "ovrun"})
            return self._read(connection.getresponse(), connection)
        except (OSError, http.client.HTTPException) as err:
            self._check_time(connection)
            raise OVError(ExitCode.BAD_INPUT, f"nothing came from {entry.host}: {type(err).__name__}", _HINT) from err
        finally:
            timer.cancel()
            connection.close()

    def _entry(self, url: str) -> tuple[AllowedPrefix, str]:
        """The entry that allows the URL, and what to ask its host for."""
        try:
            parts, port = _split(url)
        except ValueError as err:
            raise OVError(ExitCode.BAD_INPUT, f"the address {url[:100]!r} is refused: {err}", _HINT) from err
        path = parts.path or "/"
        for entry in self._allowed:
            same_place = (entry.scheme, entry.host, entry.port) == (parts.scheme, parts.hostname, port)
            if same_place and path.startswith(entry.path):
                return entry, path + (f"?{parts.query}" if parts.query else "")
        raise OVError(ExitCode.BAD_INPUT, f"this server does not fetch {url[:100]!r}: no --allow-url names it", _HINT)

    def _check_time(self, connection: _Pinned) -> None:
        if connection.is_cut:
            raise OVError(ExitCode.LIMIT_EXCEEDED, f"fetching took longer than {self._time_s:g} s", _HINT)

    def _read(self, response: http.client.HTTPResponse, connection: _Pinned) -> bytes:
        if response.status != 200:
            what = "a redirect, which is not followed" if 300 <= response.status < 400 else "no picture"
            raise OVError(ExitCode.BAD_INPUT, f"the address gave {what} (HTTP {response.status})", _HINT)
        chunks: list[bytes] = []
        num_bytes = 0
        while True:
            chunk = response.read1(CHUNK_BYTES)
            self._check_time(connection)
            if not chunk:
                return b"".join(chunks)
            chunks.append(chunk)
            num_bytes += len(chunk)
            if num_bytes > self._max_bytes:
                raise OVError(
                    ExitCode.LIMIT_EXCEEDED,
                    f"what is at the address is over the limit of {self._max_bytes:,} bytes",
                    "use a smaller one, or raise --max-body",
                )


class _Pinned(http.client.HTTPConnection):
    """Connects to one address, whatever the host's name means by then; certificates are checked for the name."""

    def __init__(self, entry: AllowedPrefix, address: str, time_s: float) -> None:
        super().__init__(entry.host, entry.port, timeout=time_s)
        self._entry, self._address = entry, address
        self._line: socket.socket | None = None  # http.client lets go of its own before all is read
        self.is_cut = False

    def connect(self) -> None:
        self.sock = self._line = socket.create_connection((self._address, self._entry.port), self.timeout)
        if self._entry.scheme == "https":
            context = ssl.create_default_context()
            self.sock = self._line = context.wrap_socket(self.sock, server_hostname=self._entry.host)

    def cut(self) -> None:
        """End every wait for the other side, who may send a byte now and then to keep us waiting."""
        self.is_cut = True
        if self._line is not None:
            with suppress(OSError):
                self._line.shutdown(socket.SHUT_RDWR)


def _split(url: str) -> tuple[SplitResult, int]:
    """The parts of an address, and its port. Raises ValueError for what two parsers could read in two ways."""
    if _STRANGE.search(url):
        raise ValueError("it has characters that do not belong in an address")
    parts = urlsplit(url)
    if parts.scheme not in PORTS or not parts.hostname:
        raise ValueError("only http:// and https:// are fetched")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise ValueError("no user, password or fragment, please")
    if ".." in unquote(unquote(parts.path)).split("/"):
        raise ValueError("its path goes upwards")
    return parts, parts.port or PORTS[parts.scheme]


def _address(entry: AllowedPrefix) -> str:
    """An address of the host. All of its addresses must be public, unless the entry names the address itself."""
    try:
        found = socket.getaddrinfo(entry.host, entry.port, type=socket.SOCK_STREAM)
    except OSError as err:
        raise OVError(ExitCode.BAD_INPUT, f"{entry.host} has no address", _HINT) from err
    addresses = [str(info[4][0]) for info in found]
    if not entry.names_address and not all(_is_public(address) for address in addresses):
        raise OVError(ExitCode.BAD_INPUT, f"{entry.host} is in a private network", "name its IP address in --allow-url")
    return addresses[0]


def _is_public(address: str) -> bool:
    ip = _ip(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            ip = ip.ipv4_mapped
        elif ip.sixtofour is not None or ip.teredo is not None or ip in _NAT64:  # could lead to any IPv4 address
            return False
    return ip is not None and ip.is_global and not ip.is_multicast


def _ip(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None
