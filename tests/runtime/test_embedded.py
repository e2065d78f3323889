"""What the bridge of the C library calls: answers that end early, memory of the application, the log, and the end."""

from __future__ import annotations

import ctypes
import gc
import itertools
import logging
import os
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from clips import write_clip

from ovengines.errors import ExitCode, OVError
from ovrun import embedding
from ovrun.log import logger
from ovrun.media import isolated
from ovrun.session import Session

EXAMPLES = Path(__file__).parents[2] / "examples"
FORKS = """
import os, threading, logging
from ovrun import embedding
embedding.log_to(lambda level, line: None, 2)
child = os.fork()
if child == 0:
    thread = threading.Thread(target=logging.getLogger("new").warning, args=("from the child",), daemon=True)
    thread.start()
    thread.join(10)
    os._exit(thread.is_alive())
print("ended with", os.waitpid(child, 0)[1])
"""
CYCLES = """
import sys
from ovrun import embedding
def resident_mb():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 / 1e6
for _ in range(6):
    session = embedding.open_bundle(sys.argv[1].encode(), [(b"threads", b"1")])
    options = [(b"max-new-tokens", b"4")]
    answer = embedding.Answer(session, None, None, [sys.argv[2].encode()], None, options, lambda: True)
    list(iter(answer.piece, None))
    embedding.close(session)
    del answer, session
closed_mb = resident_mb()
embedding.collect()
print(closed_mb - resident_mb())
"""


@pytest.fixture
def session(tiny_bundle: Path) -> Iterator[Session]:
    with embedding.open_bundle(str(tiny_bundle).encode(), [(b"threads", b"1")]) as opened:
        yield opened


def answer(target: Any, **asked: Any) -> embedding.Answer:
    request = {"prompt": None, "system": None, "images": [], "video": None, "options": [], "wants_more": lambda: True}
    return embedding.Answer(target, **{**request, **asked})


@pytest.mark.parametrize("open_target", [lambda opened: opened, lambda opened: embedding.open_chat(opened, None, [])])
@pytest.mark.parametrize("memory", [False, True])
def test_cancelled_while_a_video_is_decoded(
    session: Session,
    open_target: Callable[[Session], Any],
    memory: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    psutil = pytest.importorskip("psutil")
    monkeypatch.setattr(isolated, "MODULE", "rogue_decoder")
    monkeypatch.setenv("OV_ROGUE", "sleep")
    write_clip(tmp_path / "clip.mp4", num_frames=20)
    encoded = (tmp_path / "clip.mp4").read_bytes()
    held = ctypes.create_string_buffer(encoded)
    video: Any = (ctypes.addressof(held), len(encoded)) if memory else str(tmp_path / "clip.mp4").encode()
    asked, started_s = itertools.count(), time.monotonic()
    cancelled = answer(open_target(session), video=[video], wants_more=lambda: next(asked) < 3)
    assert time.monotonic() - started_s < 10  # the process would sleep for a minute
    assert not [child for child in psutil.Process().children() if "rogue_decoder" in " ".join(child.cmdline())]
    result = cancelled.result()
    assert cancelled.piece() is None and result is not None
    assert (result.text, result.token_ids, result.finish_reason) == ("", (), "interrupted")
    assert '"finish_reason": "interrupted"' in result.to_json()


def test_cancelled_while_images_are_opened(session: Session) -> None:
    cancelled = answer(session, images=[str(EXAMPLES / "tile.png").encode(), b"/nowhere"], wants_more=lambda: False)
    result = cancelled.result()
    assert result is not None and result.finish_reason == "interrupted"


def test_files_in_memory(session: Session) -> None:
    """As one image, and as one video whose bytes are not copied before they are looked at."""
    encoded = (EXAMPLES / "tile.png").read_bytes()
    held = ctypes.create_string_buffer(encoded, len(encoded))
    memory = (ctypes.addressof(held), len(encoded))
    said = answer(session, images=[memory], options=[(b"max-new-tokens", b"4")])
    assert "".join(iter(said.piece, None)) == session.generate(images=[encoded], max_new_tokens=4).text
    with pytest.raises(OVError, match="still picture"):
        answer(session, video=[memory])
    chat = embedding.open_chat(session, None, [(b"max-new-tokens", b"4")])
    turn = answer(chat, video=[(ctypes.addressof(held), len(encoded))] * 2)  # two frames
    while turn.piece() is not None:
        pass
    assert all(isinstance(frame, bytes) for frame in chat.messages[-2]["content"][0]["video"])


@pytest.mark.parametrize("num_bytes", [(1 << 28) + 1, 1 << 30, 1 << 31, (1 << 32) + 5, (1 << 63) + 1, (1 << 64) - 1])
@pytest.mark.parametrize("kind", ["images", "video"])
def test_too_many_bytes_are_not_looked_at(
    num_bytes: int, kind: str, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor copied: the address is that of nothing."""
    monkeypatch.setenv("OV_MAX_VIDEO_BYTES", str(1 << 28))
    with pytest.raises(OVError, match=f"has {num_bytes:,} bytes, over the limit {kind.rstrip('s')}_bytes") as caught:
        answer(session, **{kind: [(1, num_bytes)]})
    assert caught.value.code is ExitCode.LIMIT_EXCEEDED


@pytest.fixture
def lines() -> Iterator[list[str]]:
    found: list[str] = []
    embedding.log_to(lambda _, line: found.append(line), 2)
    yield found
    embedding.log_to(None, 0)


def test_the_handler_of_the_log_has_a_lock_like_any_other(lines: list[str]) -> None:
    """Python 3.13 takes it in `Handler.handle`, every version after a fork and at the end of the process."""
    handler = logger.handlers[-1]
    with handler.lock:  # type: ignore[union-attr]
        logger.info("a line")
    handler._at_fork_reinit()  # type: ignore[attr-defined]
    assert lines == ["a line"]


def test_the_end_of_the_log_is_as_before_its_beginning() -> None:
    before = logger.level, list(logger.handlers)
    for verbosity in (2, 0):
        embedding.log_to(lambda _, line: None, verbosity)
    assert logger.level == logging.WARNING
    embedding.log_to(None, 0)
    assert (logger.level, logger.handlers) == before


def test_threads_log_beside_each_other() -> None:
    """One whose callback takes its time keeps nobody waiting."""
    both = threading.Barrier(2)
    embedding.log_to(lambda _, line: both.wait(10), 2)
    try:
        threads = [threading.Thread(target=logger.info, args=(f"line {number}",)) for number in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        embedding.log_to(None, 0)
    assert not both.broken


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_host_that_forks_can_log_in_the_child() -> None:
    done = subprocess.run([sys.executable, "-c", FORKS], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("ended with 0\n", "from the child\n")


@pytest.mark.skipif(sys.platform != "linux", reason="needs glibc and /proc")
def test_closing_a_session_gives_its_memory_back(tiny_bundle: Path) -> None:
    """Not all at the end only: nothing is left to be collected."""
    command = [sys.executable, "-c", CYCLES, str(tiny_bundle), str(EXAMPLES / "tile.png")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert float(done.stdout) < 4, done.stdout  # 10 MB and more, if malloc is not asked


@pytest.mark.parametrize("wants_more", [True, False])
def test_closing_needs_no_garbage_collector(wants_more: bool, tiny_bundle: Path) -> None:
    opened = embedding.open_bundle(str(tiny_bundle).encode(), [(b"threads", b"1")])
    engine = weakref.ref(opened.engine)
    gc.disable()
    try:
        asked = itertools.count()
        said = answer(opened, wants_more=lambda: wants_more or next(asked) < 1)
        while said.piece() is not None:
            pass
        with pytest.raises(OVError):
            answer(opened, images=[b"/nowhere"])
        pixels = np.zeros((9, 9, 3), np.uint8)
        seen = answer(opened, images=[("rgb", 9, 9, [(pixels.ctypes.data, 0)], "bt601", None)])
        seen.piece()
        del said, seen
        embedding.close(opened)
        assert engine() is None
    finally:
        gc.enable()
