"""Where checkpoints, converted weights and bundles are, and workers opened on them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.bundles import build
from benchmarks.environments import python_of
from benchmarks.parts import write_parts
from benchmarks.peers.table import CONTESTANTS, Peer
from benchmarks.shapes import random_checkpoint
from benchmarks.worker import Worker


class NotInstalled(RuntimeError):
    """A peer's environment is not there."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """`checkpoint`: a real one to measure with, by default a random one of the shape."""

    folder: Path
    threads: int
    rounds: int = 7
    shape: str = "0.5b"
    checkpoint: Path | None = None

    @property
    def name(self) -> str:
        return self.checkpoint.name if self.checkpoint else self.shape

    def weights(self) -> Path:
        return self.checkpoint or random_checkpoint(self.shape, self.folder)

    def bundle(self, precision: str) -> Path:
        return build(self.weights(), self.folder / f"{self.name}-{precision}", precision)

    def source(self, name: str) -> Path:
        """What a contestant opens, made if it is not there yet. Raises NotInstalled."""
        peer = CONTESTANTS[name]
        if peer.source == "bundle":
            return self.bundle(peer.precision)
        return self.weights() if peer.source == "checkpoint" else self._converted(name)

    def arguments(self, name: str) -> dict[str, Any]:
        """Of the contestant's `start`."""
        return {"folder": str(self.source(name)), "threads": self.threads, **CONTESTANTS[name].options}

    def process(self, name: str) -> Worker:
        """A process in which the contestant can be started. Raises NotInstalled."""
        return Worker(self._python(CONTESTANTS[name]), threads=self.threads, log=self.folder / "workers.log")

    @contextmanager
    def worker(self, name: str) -> Iterator[Worker]:
        """A started contestant. Raises NotInstalled, or WorkerFailed."""
        arguments = self.arguments(name)
        with self.process(name) as worker:
            worker.start(CONTESTANTS[name].full_module, **arguments)
            yield worker

    def _python(self, peer: Peer) -> Path:
        python = python_of(peer.environment)
        if python is None:
            raise NotInstalled(f"{peer.environment} is not installed: make bench-peers")
        return python

    def _converted(self, name: str) -> Path:
        """The parts of the checkpoint as the peer's own converter writes them; whole or not there."""
        owner = CONTESTANTS[name].converted_by or name
        peer = CONTESTANTS[owner]
        target = self.folder / "peers" / f"{self.name}-{peer.module}-{peer.precision}"
        if not target.exists():
            parts = write_parts(self.weights(), self.folder / f"{self.name}-parts")
            unfinished = target.with_name(f"{target.name}.unfinished")
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir(parents=True)
            with self.process(owner) as worker:
                worker.run(
                    peer.full_module, "prepare", parts=str(parts), target=str(unfinished), precision=peer.precision
                )
            unfinished.rename(target)
        return target
