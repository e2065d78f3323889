"""A contestant without weights, for what is tested of workers; it prints where libraries do."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import numpy as np

FEATURES_1PD = np.random.default_rng(0).standard_normal((1, 5, 7)).astype(np.float32)


class Fake:
    def __init__(self, threads: int, sign: float) -> None:
        self._sign = sign
        print("a library says hello", threads)

    def versions(self) -> dict[str, str]:
        return {"fake": "1.0", "threads": os.environ["OMP_NUM_THREADS"]}

    def features(self, tiles: int) -> np.ndarray:
        print("and again")
        return FEATURES_1PD * self._sign

    def logits(self, ids: Sequence[int], forced: Sequence[int]) -> np.ndarray:
        return np.arange((1 + len(forced)) * 3, dtype=np.float32).reshape(-1, 3)

    def encode(self, tiles: int) -> float:
        return 2.0 * tiles

    def decode(self, context: int, steps: int) -> float:
        raise ValueError(f"no room for {context}")

    def prefill(self, tokens: int) -> float:
        sys.stdout.flush()
        os._exit(7)


def start(threads: int, sign: float = 1.0) -> Fake:
    return Fake(threads, sign)


def cores() -> list[int]:
    return sorted(os.sched_getaffinity(0))


def touch(megabytes: int) -> int:
    """Hold so much for a moment, and give it back."""
    return len(bytearray(b"1") * (megabytes << 20))


def prepare(target: str) -> str:
    return target.upper()
