"""What can be set about a server. Knows nothing of HTTP."""

from __future__ import annotations

from dataclasses import dataclass

from ovrun.limits import LIMITS
from ovrun.server.fetch import AllowedPrefix


@dataclass(frozen=True, kw_only=True)
class Settings:
    """`slots` answers are decoded together and `queue` more requests may wait; one beyond is answered 429.

    `timeout_s` is for a request as a whole, from the moment it is read. `head_s`, `body_s` and `write_s` are how long
    a client may take to send a request's head and its body, and how long it may leave what was sent to it unread.
    `hosts` are the names under which the server lets itself be addressed (None: any), which keeps web pages elsewhere
    from reaching a server on loopback by pointing a name of theirs at it.
    """

    slots: int = 4
    queue: int = 64
    timeout_s: float = 300.0
    grace_s: float = 30.0  # for running requests, once the server is told to stop
    max_body_bytes: int = LIMITS["body_bytes"].default
    max_connections: int = LIMITS["connections"].default
    api_key: str | None = None
    allowed_urls: tuple[AllowedPrefix, ...] = ()
    hosts: tuple[str, ...] | None = None
    head_s: float = 10.0
    body_s: float = 60.0
    write_s: float = 30.0
    fetch_s: float = 20.0
    ping_s: float = 5.0  # silence after which a stream says that it is alive, which shows whether the client is
