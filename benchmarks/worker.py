"""Runs a contestant in a process of its own and drives it over a pipe, so that contestants can take turns."""

from __future__ import annotations

import multiprocessing
import traceback
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from benchmarks.contestants import CONTESTANTS
from ovrun.result import peak_memory_mb


class Worker:
    """`worker.ms("decode", 1000)` runs that piece of work there; `peak_mb()` is the process's resident peak."""

    def __init__(self, kind: str, folder: Path, threads: int) -> None:
        self.kind = kind
        context = multiprocessing.get_context("spawn")
        self._pipe, there = context.Pipe()
        self._process = context.Process(target=_serve, args=(there, kind, str(folder), threads), daemon=True)
        self._process.start()
        there.close()
        self._ask("ready")

    def ms(self, work: str, *args: Any) -> float:
        return float(self._ask(work, *args))

    def peak_mb(self) -> float:
        return float(self._ask("peak_mb"))

    def close(self) -> None:
        self._pipe.close()
        self._process.join(timeout=10)
        self._process.kill()

    def _ask(self, work: str, *args: Any) -> Any:
        self._pipe.send((work, args))
        answer = self._pipe.recv()
        if isinstance(answer, str):
            raise RuntimeError(f"{self.kind} failed in {work}:\n{answer}")
        return answer


def _serve(pipe: Connection, kind: str, folder: str, threads: int) -> None:
    contestant = None
    while True:
        try:
            work, args = pipe.recv()
        except EOFError:
            return
        try:
            contestant = contestant or CONTESTANTS[kind](folder, threads)
            answer = _OWN[work]() if work in _OWN else getattr(contestant, work)(*args)
        except Exception:
            answer = traceback.format_exc()
        pipe.send(answer)


_OWN = {"ready": lambda: 0.0, "peak_mb": peak_memory_mb}
