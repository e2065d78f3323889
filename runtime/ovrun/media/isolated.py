"""Decodes an untrusted video in a process of its own, and outlives whatever becomes of that process.

The process gets an open file, not a name; see `ovrun.media.decoder` for what it may do. Here it is ended
when its time is over, or when nobody wants the frames any more. A new program rather than a fork: this process has
threads and an engine.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from dataclasses import asdict
from threading import Thread
from typing import IO

from PIL import Image

from ovengines.errors import ExitCode, OVError
from ovrun.limits import limit_error, limit_value
from ovrun.log import logger
from ovrun.media import wire
from ovrun.media.chosen import ChosenFrames
from ovrun.media.frames import FrameSampling
from ovrun.progress import Progress, no_progress

MODULE = "ovrun.media.decoder"
MAX_THREADS = 4
ASK_EVERY_S = 0.1  # whether the frames are still wanted
# What Python and its libraries need to start; no secret of this process goes along.
KEPT_VARIABLES = ("PATH", "SYSTEMROOT", "TMPDIR", "TEMP", "TMP", "LANG", "LC_ALL")
KEPT_PREFIXES = ("OV_", "PYTHON", "LD_", "DYLD_")
# One thread in NumPy's libraries and two heaps: less address space, which is what the limit counts.
SET_VARIABLES = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}


Frames = tuple[dict[int, Image.Image], ChosenFrames]


def decode_isolated(
    file: IO[bytes], sampling: FrameSampling, label: str, on_progress: Progress = no_progress
) -> Frames:
    """The frames by number, and what was chosen. `file` is a plain file; its position is changed.

    `on_progress` is called all the while, by the thread that calls; what it raises ends the process.

    Raises:
        OVError: BAD_INPUT for what can't be decoded, LIMIT_EXCEEDED for what takes too much time, memory or pixels.
    """
    limit_s = limit_value("video_seconds")
    file.seek(0)
    with _process(file, sampling, label) as process:
        received = _receive(process, label)
        is_late = not _wait(received, limit_s, on_progress)
        if is_late:
            process.kill()
        try:
            return received.result()
        except wire.BrokenMessage as err:
            raise _death(_status(process), is_late, label) from err
        finally:
            del received  # it holds an error, which holds this call: a circle


@contextmanager
def _process(file: IO[bytes], sampling: FrameSampling, label: str) -> Iterator[subprocess.Popen[bytes]]:
    request = {"label": label, "sampling": asdict(sampling), "num_threads": _num_threads()}
    if not sys.executable:
        raise OVError(
            ExitCode.MISSING_DEPENDENCY,
            "videos are decoded by a Python process of their own, and Python is not there",
            "set sys.executable to a Python interpreter",
        )
    process = subprocess.Popen(
        [sys.executable, "-m", MODULE, json.dumps(request)],
        stdin=file,
        stdout=subprocess.PIPE,
        stderr=None if logger.isEnabledFor(logging.DEBUG) else subprocess.DEVNULL,
        env=_environment(),
        cwd=os.path.abspath(os.sep),  # `-m` looks for modules there first: nobody's folder
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def _num_threads() -> int:
    affinity = getattr(os, "sched_getaffinity", None)
    return min(MAX_THREADS, len(affinity(0)) if affinity else os.cpu_count() or 1)


def _environment() -> dict[str, str]:
    kept = {
        name: value for name, value in os.environ.items() if name in KEPT_VARIABLES or name.startswith(KEPT_PREFIXES)
    }
    # As this process finds its modules, in a checkout or installed; "" means its current folder.
    search_path = os.pathsep.join(os.path.abspath(entry) for entry in sys.path)
    return kept | SET_VARIABLES | {"PYTHONPATH": search_path}


def _receive(process: subprocess.Popen[bytes], label: str) -> Future[Frames]:
    """What the process sends, read by a thread of its own: whoever waits can look up meanwhile."""
    assert process.stdout is not None
    received: Future[Frames] = Future()
    Thread(target=_read, args=(process.stdout, label, received), name="ovrun-frames", daemon=True).start()
    return received


def _read(pipe: IO[bytes], label: str, received: Future[Frames]) -> None:
    try:
        received.set_result(wire.receive(pipe, label))
    except BaseException as err:
        received.set_exception(err)
        del received  # as in `decode_isolated`


def _wait(received: Future[Frames], limit_s: float, on_progress: Progress) -> bool:
    """Whether everything has been read, or something went wrong, within the time."""
    end_s = time.monotonic() + limit_s
    while not received.done():
        on_progress("decoding the video", 0, 1)
        left_s = end_s - time.monotonic()
        if left_s <= 0:
            return False
        wait([received], min(ASK_EVERY_S, left_s))
    on_progress("decoding the video", 1, 1)
    return True


def _status(process: subprocess.Popen[bytes]) -> int:
    """How it ended; 0 for one that still talks nonsense."""
    try:
        return process.wait(timeout=1)
    except subprocess.TimeoutExpired:
        return 0


def _death(status: int, out_of_time: bool, label: str) -> OVError:
    """What it means that the process ended before its last message."""
    if out_of_time or status == -getattr(signal, "SIGXCPU", 0):
        return limit_error("video_seconds", f"{label} takes too long to decode")
    if status == -getattr(signal, "SIGKILL", 0):
        return limit_error("video_memory_bytes", f"{label} needs too much memory to decode: the system ended it")
    if status > 0:
        return OVError(ExitCode.UNEXPECTED, f"the process that decodes {label} failed ({status})", "see --debug")
    return OVError(ExitCode.BAD_INPUT, f"{label} makes the video decoder crash", "convert it, or use another video")
