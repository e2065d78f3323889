"""The same bundle under loads whose cost is to grow in a known way: pictures, clips, batches, turns."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from benchmarks.inputs import random_ids
from benchmarks.peers.contestant import timed_ms
from benchmarks.peers.ours import ROOM_TOKENS, Ours, import_all

__all__ = ["import_all", "start"]
PREFILLED_TOKENS = 500  # of each row of a batch
TURN = "Say that again, with other words and a little longer than before, please."


class Loads(Ours):
    """Each returns milliseconds by name."""

    def picture(self, rows: int, columns: int) -> dict[str, float]:
        """One picture whose grid has rows x columns tiles, to its first token; its peak memory so far, in MB."""
        return self._seen(images=[self._noise(rows, columns)])

    def clip(self, frames: int) -> dict[str, float]:
        return self._seen(video=[self._noise(1, 1, seed) for seed in range(frames)])

    def batch(self, rows: int, steps: int) -> dict[str, float]:
        """A step of so many rows that are decoded together."""
        cache = self._engine.new_cache(PREFILLED_TOKENS + ROOM_TOKENS, slots=rows)
        ids_BS = np.array([random_ids(PREFILLED_TOKENS, seed=row) for row in range(rows)])
        self._engine.decode(cache, ids_BS, logits_index_BK=np.zeros((rows, 0), np.int64))
        token_BS, last_BK = ids_BS[:, :1].copy(), np.zeros((rows, 1), np.int64)
        self._engine.decode(cache, token_BS, logits_index_BK=last_BK)
        step = lambda: self._engine.decode(cache, token_BS, logits_index_BK=last_BK)  # noqa: E731
        return {"step": timed_ms(lambda: [step() for _ in range(steps)]) / steps}

    def turns(self, count: int) -> dict[str, float]:
        """Each turn of one conversation, which reads only what is new: `turn_1`, `turn_2`, ..."""
        chat, spent = self._session.chat(max_new_tokens=8), {}
        for number in range(count):
            started = time.perf_counter()
            chat.ask(TURN)
            spent[f"turn_{number + 1}"] = (time.perf_counter() - started) * 1e3
        return spent

    def _noise(self, rows: int, columns: int, seed: int = 0) -> Any:
        side_px = self._session.model.geometry.image_size_px
        return np.random.default_rng(seed).integers(0, 255, (rows * side_px, columns * side_px, 3), np.uint8)

    def _seen(self, **media: Any) -> dict[str, float]:
        self._session.vision.cache.clear()
        spent, result = self._timed_answer(**media)
        return {**spent, "tiles": result.tiles, "tokens": result.prompt_tokens}


def start(folder: str, threads: int, device: str = "cpu") -> Loads:
    return Loads(folder, threads, device)
