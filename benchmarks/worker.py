"""A process under any interpreter that runs a contestant and is asked over a pipe, so that contestants take turns."""

from __future__ import annotations

import json
import os
import subprocess
import sys
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
        """`log`: where the process's own output goes, by default nowhere."""
        read_there, write_here = os.pipe()
        read_here, write_there = os.pipe()
        command = [str(python), "-m", "benchmarks.serve", str(read_there), str(write_there)]
        with open(log or os.devnull, "ab") as output:
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

    def close(self) -> None:
        self._requests.close()
        self._answers.close()
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


def _environment(threads: int) -> dict[str, str]:
    """As many threads for whoever asks OpenMP, and this package for interpreters that do not have it installed."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1"}
