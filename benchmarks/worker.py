"""A process under any interpreter that runs a contestant and is asked over a pipe, so that contestants take turns."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from benchmarks.serve import decode_value

ROOT = Path(__file__).parents[1]


class WorkerFailed(RuntimeError):
    """What the contestant raised, or how its process ended."""


class Worker:
    """`worker.ask("decode", context=1000, steps=8)` runs that there and waits for it. Close it to end the process."""

    def __init__(self, python: Path | str = sys.executable, *, threads: int, log: Path | None = None) -> None:
        """On as many cores as threads. `log`: where the process's own output goes, by default nowhere."""
        read_there, write_here = os.pipe()
        read_here, write_there = os.pipe()
        command = [str(python), "-m", "benchmarks.serve", str(read_there), str(write_there)]
        with open(log or os.devnull, "ab") as output, _on_cores(threads):
            self._process = subprocess.Popen(
                command, pass_fds=(read_there, write_there), env=_environment(threads), stdout=output, stderr=output
            )
        os.close(read_there)
        os.close(write_there)
        self._requests, self._answers = open(write_here, "w"), open(read_here)  # noqa: SIM115
        self.abilities: frozenset[str] = frozenset()

    def start(self, module: str, **arguments: Any) -> dict[str, Any]:
        """Open the contestant of a module; what it can do is in `abilities` then, what it took is returned."""
        begun: dict[str, Any] = self.run(module, "start", **arguments)
        self.abilities = frozenset(begun["abilities"])
        return begun

    def run(self, module: str, function: str, **arguments: Any) -> Any:
        return self._ask({"module": module, "call": function, "arguments": arguments})

    def ask(self, call: str, **arguments: Any) -> Any:
        return self._ask({"call": call, "arguments": arguments})

    def peak_mb(self) -> float:
        return float(self.ask("peak_mb"))

    def start_peak(self) -> bool:
        """Let `peak_mb` be of what follows; False where the kernel can't, so that it is of all so far."""
        return bool(self.ask("start_peak"))

    def close(self) -> None:
        """Whether the process still lives or not."""
        for pipe in (self._requests, self._answers):
            with suppress(OSError):  # a request that could not be written is still in the buffer
                pipe.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, kind: type[BaseException] | None, _: object, __: TracebackType | None) -> None:
        self.close()

    def _ask(self, request: dict[str, Any]) -> Any:
        try:
            self._requests.write(json.dumps(request) + "\n")
            self._requests.flush()
            line = self._answers.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise WorkerFailed(f"{request['call']}: the process ended with {self._process.wait()}")
        answer = json.loads(line)
        if "error" in answer:
            raise WorkerFailed(answer["error"])
        return decode_value(answer["value"])


@contextmanager
def _on_cores(threads: int) -> Iterator[None]:
    """What this thread starts meanwhile keeps to the first cores: some libraries start threads that nobody counts."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(allowed)[:threads])
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def _environment(threads: int) -> dict[str, str]:
    """As many threads for whoever asks OpenMP, and this package for interpreters that do not have it installed."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1"}
