"""`python -m ovengines.tensorrt` on the host's device: what child.py starts in place of the real one.

OV_TEST_WORKER says what goes wrong: killed, crash, refuse, or interrupt, which waits to be interrupted.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from host_device import OrtBackend

from ovengines.errors import ExitCode, OVError
from ovengines.tensorrt import __main__ as command
from ovengines.tensorrt.backend import BuildRequest, Progress
from ovengines.tensorrt.engine import TensorRTEngine

FAULT = os.environ.get("OV_TEST_WORKER", "")


class FaultyBackend(OrtBackend):
    def build(self, request: BuildRequest, progress: Progress) -> bytes:
        print("a library says something")
        if FAULT == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if FAULT == "crash":
            raise RuntimeError("no such tactic")
        if FAULT == "refuse":
            raise OVError(ExitCode.BUNDLE_INVALID, "TensorRT can't parse it: no importer", "build it again")
        if FAULT == "interrupt":
            _wait(Path(os.environ["OV_HOME"]) / "interrupted", progress)
        return super().build(request, progress)


def _wait(note: Path, progress: Progress) -> None:
    try:
        progress("waiting", 1, 2)
        for _ in range(600):  # a signal that comes just before a sleep does not shorten it
            time.sleep(0.1)
    except KeyboardInterrupt:
        note.touch()
        raise


def _open(bundle: Any, *, apart: bool, **arguments: Any) -> TensorRTEngine:
    assert not apart
    return TensorRTEngine(bundle, FaultyBackend(), **arguments)


if __name__ == "__main__":
    command.open_tensorrt = _open
    sys.exit(command.main())
