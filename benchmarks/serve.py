"""The inside of a worker: answers JSON lines over pipes of its own, so that a library may print whatever it likes.

Runs under any interpreter that has NumPy: `python -m benchmarks.serve READ_FD WRITE_FD`. A request is
{"call", "arguments"} for the contestant, or with "module" for a function of that module, of which `start` returns the
contestant. An answer is {"value"} or {"error"}.
"""

from __future__ import annotations

import base64
import importlib
import json
import sys
import time
import traceback
from typing import IO, Any

import numpy as np

from benchmarks.peers.contestant import abilities


def encode_value(value: Any) -> Any:
    """JSON's own types as they are, arrays as text."""
    if isinstance(value, np.ndarray):
        return {"dtype": str(value.dtype), "shape": value.shape, "base64": base64.b64encode(value.tobytes()).decode()}
    return value


def decode_value(value: Any) -> Any:
    if isinstance(value, dict) and "base64" in value:
        return np.frombuffer(base64.b64decode(value["base64"]), value["dtype"]).reshape(value["shape"])
    return value


def peak_mb() -> float | None:
    """Resident peak of this process, by the kernel's own mark; None where there is none."""
    try:
        with open("/proc/self/status") as status:
            marks = [line.split()[1] for line in status if line.startswith("VmHWM:")]
    except OSError:
        return None
    return int(marks[0]) * 1024 / 1e6 if marks else None


def start_peak() -> bool:
    """Set that mark back to what is resident now; False where the kernel has no such thing."""
    try:
        with open("/proc/self/clear_refs", "w") as mark:
            mark.write("5")
    except OSError:
        return False
    return True


OF_PROCESS = {"peak_mb": peak_mb, "start_peak": start_peak}


class Server:
    """Holds the contestant between requests."""

    def __init__(self) -> None:
        self._contestant: Any = None

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        try:
            return {"value": encode_value(self._value(**request))}
        except Exception:
            return {"error": traceback.format_exc()}

    def _value(self, *, call: str, arguments: dict[str, Any], module: str | None = None) -> Any:
        if call in OF_PROCESS:
            return OF_PROCESS[call]()
        if module is None:
            return getattr(self._contestant, call)(**arguments)
        if call != "start":
            return getattr(importlib.import_module(module), call)(**arguments)
        return self._start(module, arguments)

    def _start(self, module: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """What the contestant can do, and the milliseconds that importing and opening took."""
        began = time.perf_counter()
        loaded = importlib.import_module(module)
        if hasattr(loaded, "import_all"):
            loaded.import_all()
        imported = time.perf_counter()
        self._contestant = loaded.start(**arguments)
        opened = time.perf_counter()
        spent = {"import_ms": (imported - began) * 1e3, "open_ms": (opened - imported) * 1e3}
        return {"abilities": abilities(self._contestant), **spent}


def serve(requests: IO[str], answers: IO[str]) -> None:
    """Answer until the other end closes."""
    server = Server()
    for line in requests:
        answers.write(json.dumps(server.answer(json.loads(line))) + "\n")
        answers.flush()


if __name__ == "__main__":
    with open(int(sys.argv[1])) as asked, open(int(sys.argv[2]), "w") as answered:
        serve(asked, answered)
