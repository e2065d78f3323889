"""Who was measured, and in what: the part that rows of all tables share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from benchmarks.agreement import precision_of
from benchmarks.setting import Setting
from benchmarks.worker import Worker


@dataclass(frozen=True, kw_only=True)
class Ran:
    contestant: str
    precision: str
    device: str
    threads: int
    versions: dict[str, str]


def ran(setting: Setting, name: str, worker: Worker) -> dict[str, Any]:
    """The fields of `Ran`, of a started contestant."""
    return {
        "contestant": name,
        "precision": precision_of(worker, name),
        "device": setting.device,
        "threads": setting.threads,
        "versions": worker.ask("versions"),
    }
