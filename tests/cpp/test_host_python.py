"""A host that runs Python already: with and without the GIL in its hands, from several of its threads."""

from __future__ import annotations

import ctypes
import json
import sys
import threading
import time
import venv
from pathlib import Path

import pytest
from c_abi import CALLBACK, Library, request_about
from cpp_builds import ROOT, run, run_any

from ovrun.session import Session

FORK = """
import ctypes, os, sys
sys.path.insert(0, sys.argv[2])
library = ctypes.CDLL(sys.argv[1])
library.ov_last_error.restype = ctypes.c_char_p
assert library.ov_start() == 0
child = os.fork()
if child == 0:
    right = library.ov_start() == 2 and b"forked" in library.ov_last_error()
    os._exit(0 if right else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
FOREIGN = """
import ctypes, json, sys
library = ctypes.CDLL(sys.argv[1])
library.ov_last_error.restype = library.ov_last_hint.restype = ctypes.c_char_p
status = library.ov_start()
print(json.dumps([status, library.ov_last_error().decode(), library.ov_last_hint().decode()]))
"""
LEAVES = """
import sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from c_abi import Library, request_about
ov = Library(Path(sys.argv[1]), holding_gil=True)
session = ov.open(Path(sys.argv[3]))
print(ov.generate(session, request_about(Path(sys.argv[4])))[1])
"""


@pytest.mark.parametrize("holding_gil", [False, True])
def test_sessions_answer_in_a_process_that_is_python(
    library: Path, tiny_bundle: Path, picture: Path, holding_gil: bool
) -> None:
    with Session.open(tiny_bundle, threads=1) as own:
        right = list(own.generate(images=[picture]).token_ids)
    ov = Library(library, holding_gil=holding_gil)
    session = ov.open(tiny_bundle)
    told: list[list[int]] = []
    pieces: list[bytes] = []
    callback = CALLBACK(lambda piece, size, user: pieces.append(ctypes.string_at(piece, size)) or 0)
    told.append(ov.generate(session, request_about(picture), callback)[0])

    def ask() -> None:
        for _ in range(3):
            told.append(ov.generate(session, request_about(picture))[0])

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert told == [right] * 13 and len(pieces) > 3
    ov.check(ov.c.ov_session_close(session))


def test_the_gil_is_free_while_the_engine_runs(library: Path, tiny_bundle: Path) -> None:
    """Else another thread of Python would stand still for the time of an answer."""
    ov = Library(library, holding_gil=True)
    session = ov.open(tiny_bundle)
    gaps_s: list[float] = []
    done = threading.Event()

    def tick() -> None:
        last = time.perf_counter()
        while not done.is_set():
            time.sleep(0.0005)
            now = time.perf_counter()
            gaps_s.append(now - last)
            last = now

    ticking = threading.Thread(target=tick)
    ticking.start()
    start = time.perf_counter()
    for _ in range(5):
        ov.generate(session, request_about(ROOT / "examples" / "page.png"))
    spent_s = time.perf_counter() - start
    done.set()
    ticking.join()
    ov.check(ov.c.ov_session_close(session))
    assert len(gaps_s) > 20 and max(gaps_s) < spent_s / 3, (len(gaps_s), max(gaps_s), spent_s)


def test_a_forked_child_is_told(library: Path) -> None:
    search = str(ROOT / "runtime")
    assert run(sys.executable, "-c", FORK, library, search) == "0\n"


def test_a_host_may_end_with_sessions_open(library: Path, tiny_bundle: Path, picture: Path) -> None:
    assert run(sys.executable, "-c", LEAVES, library, Path(__file__).parent, tiny_bundle, picture).count("\n") == 1


def test_a_host_without_the_package_is_told(library: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "env", symlinks=True)
    done = run_any(tmp_path / "env" / "bin" / "python", "-c", FOREIGN, library)
    status, message, hint = json.loads(done.stdout)
    assert status == 6 and "can't import ovrun" in message and "pip install" in hint
