"""Builds an engine in a process of its own, which gives back all that it took: network, weights, scratch, the engine.

On a Jetson that memory is everyone's. Where the kernel ends the process for want of it, the program that asked for the
engine goes on, and says so. The process tells what it does in lines of JSON on stdout: `{"progress": [what, done,
total]}`, and at last `{"error": [code, message, hint]}` if it failed.
"""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from ovengines.errors import ExitCode, OVError
from ovengines.tensorrt.backend import Progress

MODULE = "ovengines.tensorrt"
MEMORY_HINT = "close other programs, add swap, or take a recipe with less workspace_mib"


def build_in_child(bundle: Path, role: str, progress: Progress, *, recipe: str | None, force: bool) -> None:
    """Have the engine of a role built, checked and stored. Its progress and its error become ours.

    Raises:
        OVError: that of the process; OUT_OF_MEMORY or UNEXPECTED for one that was ended from outside.
    """
    if not sys.executable:
        message = "engines are built in a process of their own, and there is no Python to run it"
        raise OVError(ExitCode.MISSING_DEPENDENCY, message, "set sys.executable to a Python interpreter")
    command = [sys.executable, "-m", MODULE, str(bundle), "--worker", role]
    command += ["--recipe", recipe] if recipe else []
    command += ["--force"] if force else []
    with tempfile.TemporaryFile("w+") as last_words:
        with _process(command, last_words) as process:
            error = _listen(process, progress)
        if error:
            raise error
        if process.returncode:
            raise _ended(role, process.returncode, last_words)


def tell_progress(what: str, done: int, total: int) -> None:
    """Of the process itself, to the one that started it."""
    _tell({"progress": [what, done, total]})


def tell_error(err: OVError) -> None:
    _tell({"error": [int(err.code), err.message, err.hint]})


def _tell(content: dict[str, Any]) -> None:
    print(json.dumps(content), flush=True)


@contextlib.contextmanager
def _process(command: list[str], last_words: IO[str]) -> Iterator[subprocess.Popen[str]]:
    """In a session of its own, so that Ctrl-C on the terminal reaches it only through us, once; over afterwards."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=last_words,
        text=True,
        encoding="utf-8",
        start_new_session=True,
    )
    try:
        yield process
    except BaseException:
        process.send_signal(signal.SIGINT)  # the builder stops at its next step, and leaves nothing behind
        raise
    finally:
        assert process.stdout
        process.stdout.close()  # it may be waiting for somebody to read
        try:
            process.wait()
        except BaseException:  # a second Ctrl-C
            process.kill()
            process.wait()
            raise


def _listen(process: subprocess.Popen[str], progress: Progress) -> OVError | None:
    """Until it is over; lines that are none of ours (a library's) are left out."""
    error = None
    for line in process.stdout or ():
        try:
            said = json.loads(line)
            if "progress" in said:
                what, done, total = said["progress"]
            elif "error" in said:
                code, message, hint = said["error"]
                error = OVError(ExitCode(code), message, hint)
                continue
        except (ValueError, TypeError):
            continue
        progress(what, done, total)
    process.wait()
    return error


def _ended(role: str, code: int, last_words: IO[str]) -> OVError:
    what = f"the process that builds the {role} engine was ended"
    if code == -signal.SIGKILL:
        return OVError(ExitCode.OUT_OF_MEMORY, f"{what}, most likely for want of memory", MEMORY_HINT)
    last_words.seek(0)
    said = " ".join(last_words.read().strip().splitlines()[-1:])[:300]
    how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
    return OVError(ExitCode.UNEXPECTED, f"{what} {how}{f': {said}' if said else ''}", "please report this")
