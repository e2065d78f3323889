"""What a contestant can be asked to do. One that cannot do a piece of work lacks its method.

The module of a peer has `start(...) -> Contestant` and, where the weights want converting, `prepare(...)`; it may
import nothing of this project but `benchmarks.inputs` and this module, since its environment has only its own library.

Axes: N tiles, C channels, H W pixels, P patches of a tile, D width, K rows of logits, V vocabulary.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]


class Contestant(Protocol):
    """Times are in milliseconds, and leave out what making the inputs takes."""

    def versions(self) -> dict[str, str]:
        """Of the libraries that do the work."""

    def features(self, tiles: int) -> Float32:
        """What the tower makes of `random_tiles` [N, P, D], to be compared before anything is timed."""

    def logits(self, ids: Sequence[int], forced: Sequence[int]) -> Float32:
        """After reading `ids`, and after each of the `forced` tokens in a step of its own [1 + len(forced), V]."""

    def resumed(self, context: int, forced: Sequence[int]) -> Float32:
        """Logits [len(forced), V] of `forced` in steps on top of `context` `random_ids`, after other steps there: what
        `decode` does to go back is to leave nothing of these."""

    def precision(self) -> str:
        """In which it really calculates, where that is not its caller's choice; the table's name for it otherwise."""

    def decoder_bytes(self) -> dict[str, float]:
        """What a step reads: `weights`, and `per_token` of the context. Lacking, it is reckoned from the precision."""

    def encode(self, tiles: int) -> float:
        """One run of the tower over so many tiles."""

    def prefill(self, tokens: int) -> float:
        """Reading so many `random_ids` into an empty cache, up to the logits of the last one."""

    def decode(self, context: int, steps: int) -> float:
        """Mean of so many steps of one token, the first of them on top of `context` tokens."""

    def copy(self, context: int, tokens: int, drafted: int) -> float:
        """Per token of an answer that repeats a passage of the context, with drafts of so many tokens."""

    def preprocess(self, image: str) -> float:
        """From the bytes of a picture to normalised tiles."""

    def tiles(self, image: str) -> Float32:
        """What that makes [N, C, H, W]."""

    def answer(self, image: str, ids: Sequence[int]) -> dict[str, float]:
        """From the bytes of a picture to the first token, by stage; `ids` are the prompt, visual tokens spread out."""


TOLD = ("features", "logits", "resumed", "precision", "decoder_bytes")
WORKS = (*TOLD, "encode", "prefill", "decode", "copy", "preprocess", "tiles", "answer")


def abilities(contestant: object) -> list[str]:
    return [work for work in WORKS if hasattr(contestant, work)]


def timed_ms(work: Callable[[], Any]) -> float:
    started = time.perf_counter()
    work()
    return (time.perf_counter() - started) * 1e3
