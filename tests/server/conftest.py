"""Sessions on the embedded model, and servers over them."""

from __future__ import annotations

import io
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from running_server import EXAMPLES, Running, endless_session, running

from ovrun.session import Session


@pytest.fixture(scope="session")
def session(tiny_bundle: Path) -> Iterator[Session]:
    """What servers run on."""
    with Session.open(tiny_bundle, device="cpu", threads=1) as opened:
        yield opened


@pytest.fixture(scope="session")
def alone(tiny_bundle: Path) -> Iterator[Session]:
    """The oracle: a session that answers one question at a time."""
    with Session.open(tiny_bundle, device="cpu", threads=1) as opened:
        yield opened


@pytest.fixture(scope="session")
def served(session: Session) -> Iterator[Running]:
    with running(session) as found:
        yield found


@pytest.fixture(scope="session")
def endless(session: Session) -> Session:
    """Answers until it is stopped, some 100 tokens per second."""
    return endless_session(session, pause_s=0.01)


@pytest.fixture(scope="session")
def picture() -> bytes:
    return (EXAMPLES / "shapes.png").read_bytes()


@pytest.fixture(scope="session")
def clip() -> bytes:
    """Two seconds of a square that moves."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=8)
        stream.width = stream.height = 104
        stream.pix_fmt = "yuv420p"
        for number in range(16):
            pixels = np.full((104, 104, 3), 240, np.uint8)
            pixels[30:60, 5 * number : 5 * number + 30] = (200, 30, 30)
            for packet in stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return file.getvalue()


@pytest.fixture(scope="session")
def clip_file(clip: bytes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("clips") / "square.mp4"
    file.write_bytes(clip)
    return file


@pytest.fixture(scope="session")
def curl() -> Callable[..., str]:
    """Runs the real thing; `body` goes through its stdin."""
    program = shutil.which("curl")
    if program is None:
        pytest.skip("there is no curl")

    def run(*words: str, body: str | None = None) -> str:
        given = ["--data-binary", "@-"] if body is not None else []
        done = subprocess.run([program, "-sS", "-m", "60", *given, *words], input=body, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run
