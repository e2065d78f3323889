"""`ovrun serve` as a process: what it says, how it ends, and what it refuses at the start."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ovengines.errors import ExitCode
from ovrun.cli import main

WITHOUT_EXTRA = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("starlette", "uvicorn", "prometheus_client"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
from ovrun.cli import main
sys.exit(main(["serve"]))
"""


@contextmanager
def process(bundle: Path, *words: str, **environment: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The server and its start lines."""
    command = [sys.executable, "-m", "ovrun", "serve", "-m", str(bundle), "--port", "0", "--threads", "1", *words]
    started = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment}
    )
    try:
        assert started.stderr is not None
        yield started, started.stderr.readline() + started.stderr.readline()
    finally:
        started.kill()
        started.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly(tiny_bundle: Path, number: signal.Signals) -> None:
    with process(tiny_bundle, OV_API_KEY="sesame") as (server, start):
        assert "curl" in start and "$OV_API_KEY" in start and "sesame" not in start
        url = re.search(r"http://127\.0\.0\.1:\d+", start).group()  # type: ignore[union-attr]
        request = urllib.request.Request(
            f"{url}/v1/models", headers={"authorization": "Bearer sesame", "connection": "close"}
        )
        with urllib.request.urlopen(request, timeout=30) as response:
            assert json.load(response)["data"][0]["id"] == "ov-tiny"
        idle = socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])))
        began_s = time.monotonic()
        server.send_signal(number)
        told = server.communicate(timeout=30)
        assert (server.returncode, *told) == (0, "", "")
        assert time.monotonic() - began_s < 15
        idle.close()


@pytest.mark.parametrize(
    "words",
    [
        ["--slots", "0"],
        ["--queue", "-1"],
        ["--timeout", "nan"],
        ["--max-body", "0"],
        ["--allow-url", "example.com"],
        ["--api-key", ""],
        ["--api-key", "ключ"],
        ["--host", "no such host"],
        ["--port", "70000"],
        ["picture.png"],
    ],
)
def test_senseless_settings(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--port", "0", *words]) == ExitCode.USAGE
    told = capsys.readouterr()
    assert told.out == "" and told.err.startswith("error: ") and "Traceback" not in told.err


def test_a_port_that_is_taken(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert main(["serve", "--port", str(taken.getsockname()[1])]) == ExitCode.USAGE
    assert "use another --port" in capsys.readouterr().err


def test_without_its_extra() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT_EXTRA], capture_output=True, text=True)
    assert done.returncode == ExitCode.MISSING_DEPENDENCY
    assert "pip install 'ovexport[server]'" in done.stderr and "starlette" in done.stderr
