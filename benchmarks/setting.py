"""Where checkpoints, converted weights and bundles are, and workers opened on them."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from benchmarks.bundles import build, weight_files
from benchmarks.environments import installed, python_of
from benchmarks.parts import write_parts
from benchmarks.peers.table import CONTESTANTS, Peer
from benchmarks.shapes import random_checkpoint
from benchmarks.worker import Worker

MADE_BY = "made_by.json"  # in what a peer has converted: of which weights, with what


class NotInstalled(RuntimeError):
    """A peer's environment is not there, or the peer does not run on this device."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """`checkpoint`: a real one to measure with, by default a random one of the shape."""

    folder: Path
    threads: int
    rounds: int = 7
    shape: str = "0.5b"
    checkpoint: Path | None = None
    device: str = "cpu"

    @property
    def name(self) -> str:
        """Of bundles and conversions: two folders that are both called "checkpoint" are not the same weights."""
        return f"{self.checkpoint.resolve().name}-{self.weights_key()}" if self.checkpoint else self.shape

    def on(self, device: str) -> Setting:
        return dataclasses.replace(self, device=device)

    def weights(self) -> Path:
        return self.checkpoint or random_checkpoint(self.shape, self.folder)

    def weights_key(self) -> str:
        """Of the files' place, sizes and times, as reading gigabytes each time would take minutes."""
        files = [(str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns) for file in self._weight_files()]
        return sha256(repr(files).encode()).hexdigest()[:12]

    def bundle(self, precision: str, target: str = "ort") -> Path:
        suffix = "" if target == "ort" else f"-{target}"
        return build(self.weights(), self.folder / f"{self.name}-{precision}{suffix}", precision, target)

    def source(self, name: str) -> Path:
        """What a contestant opens, made if it is not there yet. Raises NotInstalled."""
        peer = CONTESTANTS[name]
        if peer.source == "bundle":
            return self.bundle(peer.precision, peer.target)
        return self.weights() if peer.source == "checkpoint" else self._converted(name)

    def arguments(self, name: str) -> dict[str, Any]:
        """Of the contestant's `start`. Raises NotInstalled."""
        peer = CONTESTANTS[name]
        self._python(peer)
        if self.device not in peer.devices:
            raise NotInstalled(f"{name} is measured on {', '.join(peer.devices)} only")
        told = peer.devices[self.device]
        device = {"device": told} if told else {}
        return {"folder": str(self.source(name)), "threads": self.threads, **device, **peer.options}

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

    def _weight_files(self) -> list[Path]:
        return weight_files(self.weights())

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
        made_by = json.dumps({"weights": self.weights_key(), "with": installed(peer.environment, peer.libraries)})
        if not is_made_by(target, made_by):
            parts = write_parts(self.weights(), self.folder / f"{self.name}-parts")
            unfinished = target.with_name(f"{target.name}.unfinished")
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir(parents=True)
            with self.process(owner) as worker:
                worker.run(
                    peer.full_module, "prepare", parts=str(parts), target=str(unfinished), precision=peer.precision
                )
            (unfinished / MADE_BY).write_text(made_by)
            shutil.rmtree(target, ignore_errors=True)
            unfinished.rename(target)
        return target


def is_made_by(target: Path, made_by: str) -> bool:
    """Whether a conversion is of these weights, by these versions of the peer's libraries."""
    mark = target / MADE_BY
    return mark.exists() and mark.read_text() == made_by
