"""The server as its own process under load for minutes: nothing lost, nothing crossed, memory flat, nobody shut out.

OV_SOAK_S sets the length in seconds (600 by default).
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from running_server import EXAMPLES, raw_request, read_all, user
from test_many_requests import streamed_text
from test_serve_command import process

from ovrun.session import Session

pytestmark = pytest.mark.slow

CLIENTS = 200
LENGTH_S = float(os.environ.get("OV_SOAK_S", "600"))
SLOW_CONNECTIONS = 10_000
FLAT = 1.05


@pytest.fixture
def server(tiny_bundle: Path) -> Iterator[tuple[psutil.Process, int]]:
    with process(tiny_bundle, "--slots", "8", "--queue", "400") as (started, start):
        port = int(start.split("127.0.0.1:")[1].split()[0].split("/")[0])
        yield psutil.Process(started.pid), port
        started.send_signal(signal.SIGTERM)
        out, err = started.communicate(timeout=60)
        assert (started.returncode, out) == (0, "") and "Traceback" not in err


def bodies_and_answers(alone: Session) -> list[tuple[dict[str, Any], str]]:
    """80 questions, no answer of which is right for many others."""
    pictures = [(EXAMPLES / name).read_bytes() for name in ("shapes.png", "portrait.png", "tile.png")]
    asked = []
    for number in range(80):
        text, images = f"Describe this, number {number}.", pictures[number % 4 : number % 4 + 1]
        options = {"temperature": 1.2, "seed": number}
        body = {"model": "default", "messages": [user(*images, text)], **options}
        asked.append((body, alone.generate(prompt=text, images=images, **options).text))
    return asked


def exchange(port: int, body: bytes) -> tuple[int, bytes]:
    with raw_request(port, body, "connection: close\r\n") as sock:
        sock.settimeout(120)
        head, _, rest = read_all(sock).partition(b"\r\n\r\n")
    return int(head.split()[1]), rest


class Load:
    """What all clients do until the end, and what came of it."""

    def __init__(self, port: int, asked: list[tuple[dict[str, Any], str]], end_s: float) -> None:
        self.port, self.asked, self.end_s = port, asked, end_s
        self.counts: Counter[str] = Counter()
        self.problems: list[str] = []
        self._lock = threading.Lock()

    def run(self, number: int) -> None:
        chance = random.Random(number)
        while time.monotonic() < self.end_s and len(self.problems) < 10:
            try:
                kind = self._once(chance)
            except Exception as err:
                self.problems.append(repr(err))
                continue
            with self._lock:
                self.counts[kind] += 1

    def _once(self, chance: random.Random) -> str:
        body, expected = chance.choice(self.asked)
        dice = chance.random()
        if dice < 0.03:
            self._leave_early({**body, "stream": True})
            return "left"
        if dice < 0.05:
            status, _ = exchange(self.port, json.dumps(body).encode()[:-9])
            assert status == 400
            return "malformed"
        stream = dice < 0.5
        status, told = exchange(self.port, json.dumps({**body, "stream": stream}).encode())
        assert status == 200, (status, told[:300])
        text = streamed_text(told) if stream else json.loads(told)["choices"][0]["message"]["content"]
        assert text == expected, (text, expected)
        return "answered"

    def _leave_early(self, body: dict[str, Any]) -> None:
        with raw_request(self.port, json.dumps(body).encode()) as sock:
            sock.settimeout(60)
            sock.recv(64)


def test_200_clients(server: tuple[psutil.Process, int], alone: Session) -> None:
    process, port = server
    load = Load(port, bodies_and_answers(alone), time.monotonic() + LENGTH_S)
    threads = [threading.Thread(target=load.run, args=(number,), daemon=True) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    memory_mb = []
    while any(thread.is_alive() for thread in threads):
        time.sleep(LENGTH_S / 100)
        memory_mb.append(process.memory_info().rss / 1e6)
    assert load.problems == []
    settled_mb = memory_mb[len(memory_mb) // 4 :]
    print(f"\n{dict(load.counts)} in {LENGTH_S:.0f} s; {settled_mb[0]:.1f} MB, at most {max(settled_mb):.1f} MB later")
    assert load.counts["answered"] > CLIENTS
    assert max(settled_mb) <= FLAT * settled_mb[0]


def test_10_000_slow_connections(server: tuple[psutil.Process, int]) -> None:
    """They never end their heads; who asks meanwhile is answered, and the server's own limit holds."""
    resource = pytest.importorskip("resource")
    process, port = server
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < SLOW_CONNECTIONS + 200:
        pytest.skip(f"this system allows {hard} open files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, SLOW_CONNECTIONS + 200), hard))
    body = json.dumps({"model": "default", "messages": [user("Hello")]}).encode()
    assert exchange(port, body)[0] == 200
    before_mb, socks, slowest_s, most_open = process.memory_info().rss / 1e6, [], 0.0, 0
    for number in range(SLOW_CONNECTIONS):
        sock = socket.create_connection(("127.0.0.1", port), timeout=60)
        sock.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nx-half: ")
        socks.append(sock)
        if number % 500 == 499:
            began_s = time.monotonic()
            assert exchange(port, body)[0] == 200
            slowest_s = max(slowest_s, time.monotonic() - began_s)
            most_open = max(most_open, process.num_fds())
    after_mb = process.memory_info().rss / 1e6
    print(f"\nslowest answer {slowest_s:.2f} s, {most_open} files open, {before_mb:.0f} -> {after_mb:.0f} MB")
    assert slowest_s < 10 and most_open < 1200
    for sock in socks:
        sock.close()


def test_killed_clients(server: tuple[psutil.Process, int]) -> None:
    """Processes that are killed in the middle of an answer, and in the middle of what they send."""
    program = shutil.which("curl")
    if program is None:
        pytest.skip("there is no curl")
    _, port = server
    asked = {"model": "default", "stream": True, "temperature": 2, "messages": [user("Talk")]}
    url, kind = f"http://127.0.0.1:{port}/v1/chat/completions", "content-type: application/json"
    for number in range(30):
        words = [program, "-sN", "-H", kind, "-d", json.dumps({**asked, "seed": number}), url]
        if number % 3 == 0:
            words = [program, "-s", "-H", kind, "-T", "/dev/zero", "-X", "POST", url]
        client = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(0.05)
        with suppress(ProcessLookupError):
            client.kill()
        client.wait()
    body = json.dumps({"model": "default", "messages": [user("Hello")]}).encode()
    assert exchange(port, body)[0] == 200
