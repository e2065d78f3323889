"""A host that runs Python already: with and without the GIL in its hands, from several of its threads."""

from __future__ import annotations

import ctypes
import json
import logging
import shutil
import sys
import threading
import time
import venv
from pathlib import Path

import pytest
from c_abi import CALLBACK, Library, request_about
from cpp_builds import ROOT, run, run_any

from ovengines.errors import ExitCode
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

GUEST = """
import ctypes, sys, threading, time
guest = ctypes.CDLL(sys.argv[1])
assert guest.hold(sys.argv[2].encode()) == 0
"""
ENDS = """
guest.answer_in_background()
"""
DAEMON = """
sys.path.insert(0, sys.argv[3])
from pathlib import Path
from c_abi import Library, request_about
ov = Library(Path(sys.argv[4]), holding_gil=True)
session, answers = ov.open(Path(sys.argv[2])), []
def ask():
    try:
        while True: answers.append(ov.generate(session, request_about(Path(sys.argv[5]))))
    except AssertionError as error:
        print(error.args[0][:2])
threading.Thread(target=ask, daemon=True).start()
while len(answers) < 2: time.sleep(0.01)
"""
SUBINTERPRETER = """
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
interpreters.create()
print(guest.answer_in_thread())
"""
OTHER_VERSION = """
import ovrun.embedding
ovrun.embedding.BRIDGE_VERSION = 99
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


def test_a_host_may_end_while_threads_of_c_answer(programs: Path, tiny_bundle: Path) -> None:
    told = run(sys.executable, "-c", GUEST + ENDS, programs / "guest.so", tiny_bundle)
    assert told == "after Python: 2 2\n"  # the session was closed with Python


def test_a_host_may_end_while_threads_of_its_own_answer(
    programs: Path, library: Path, tiny_bundle: Path, picture: Path
) -> None:
    arguments = (programs / "guest.so", tiny_bundle, Path(__file__).parent, library, picture)
    for _ in range(3):
        assert "after Python: 2 2\n" in run(sys.executable, "-c", GUEST + DAEMON, *arguments)


def test_a_host_may_have_sub_interpreters(programs: Path, tiny_bundle: Path) -> None:
    told = run(sys.executable, "-c", GUEST + SUBINTERPRETER, programs / "guest.so", tiny_bundle)
    assert told.startswith("0\n")


def test_the_hosts_log_is_as_it_was(library: Path) -> None:
    ov = Library(library)
    callback = ctypes.CFUNCTYPE(None, ctypes.c_int32, ctypes.c_char_p, ctypes.c_void_p)(lambda *line: None)
    logger = logging.getLogger("ovrun")
    before = logger.level
    ov.check(ov.c.ov_set_log(callback, 2, None))
    assert logger.level == logging.DEBUG
    ov.check(ov.c.ov_set_log(callback, 0, None))
    ov.check(ov.c.ov_set_log(None, 0, None))
    assert logger.level == before


def test_a_package_of_another_version_is_named(library: Path) -> None:
    status, message, hint = json.loads(run(sys.executable, "-c", OTHER_VERSION + FOREIGN, library))
    assert status == ExitCode.MISSING_DEPENDENCY and "of version 99" in message and "of version 2" in message
    assert "--libs" in hint


def test_a_bridge_of_another_version_is_named(library: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.c").write_text("int nothing;")
    bridge = next(library.parent.glob("ovrun_bridge.*"))
    run("cc", "-shared", "-fPIC", tmp_path / "empty.c", "-o", tmp_path / bridge.name)
    shutil.copy(library, tmp_path)
    status, message, _ = json.loads(run(sys.executable, "-c", FOREIGN, tmp_path / library.name))
    assert status == ExitCode.MISSING_DEPENDENCY and "of version 1 " in message and "of version 2" in message


def test_a_host_without_the_package_is_told(library: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "env", symlinks=True)
    done = run_any(tmp_path / "env" / "bin" / "python", "-c", FOREIGN, library)
    status, message, hint = json.loads(done.stdout)
    assert status == 6 and "can't import ovrun" in message and "pip install" in hint
