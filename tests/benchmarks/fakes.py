"""Workers without processes and a setting that opens them: who is asked for what, and who gives something wrong."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers.table import Peer
from benchmarks.setting import NotInstalled, Setting

LOGITS_KV = np.random.default_rng(0).standard_normal((5, 7)).astype(np.float32)
FEATURES_NPD = np.random.default_rng(1).standard_normal((1, 3, 7)).astype(np.float32)
PEER = "llama.cpp Q4_0"
STAGES = ("preprocess", "encode", "project", "prefill", "first_token")
COMPARED = ("features", "logits", "resumed", "precision", "decoder_bytes", "versions", "prompt_ids", "tiles")


class FakeWorker:
    """One millisecond for whatever it is asked, twice as much for a peer."""

    abilities = frozenset({"features", "logits", "resumed", "prefill", "decode", "copy", "answer"})

    def __init__(self, name: str, wrong: str, timed: list[tuple[str, str]]) -> None:
        self._name, self._wrong, self._timed = name, wrong, timed

    def __enter__(self) -> FakeWorker:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def start(self, module: str, **_: Any) -> dict[str, float]:
        return {"import_ms": 1.0, "open_ms": 1.0}

    def peak_mb(self) -> float:
        return 100.0

    def start_peak(self) -> bool:
        return True

    def ask(self, call: str, **arguments: Any) -> Any:
        said = {
            "features": FEATURES_NPD,
            "logits": LOGITS_KV,
            "resumed": LOGITS_KV[1:],
            "versions": {"library": "1"},
            "prompt_ids": [1, 2],
            "tiles": FEATURES_NPD,
        }
        if call in said:
            return -np.asarray(said[call]) if call == self._wrong else said[call]
        self._timed.append((self._name, call))
        spent = 1.0 if self._name.startswith("ours") else 2.0
        if call in ("answer", "picture", "clip"):
            return dict.fromkeys(STAGES, spent)
        return {f"turn_{number + 1}": spent for number in range(8)} if call == "turns" else spent


@dataclass(frozen=True, kw_only=True)
class FakeSetting(Setting):
    """`wrong`: what somebody gives with the other sign, by contestant."""

    wrong: dict[str, str] = field(default_factory=dict)
    missing: str = ""
    timed: list[tuple[str, str]] = field(default_factory=list)
    opened: list[str] = field(default_factory=list)
    key: str = "weights"

    def weights_key(self) -> str:
        return self.key

    def source(self, name: str) -> Path:
        return self.folder / name

    def _python(self, peer: Peer) -> Path:
        return Path(sys.executable)  # whether or not the peer is installed

    def process(self, name: str) -> Any:
        if name == self.missing:
            raise NotInstalled(f"{name} is not installed: make bench-peers")
        self.opened.append(name)
        return FakeWorker(name, self.wrong.get(name, ""), self.timed)

    @contextmanager
    def worker(self, name: str) -> Iterator[Any]:
        yield self.process(name)
