"""A bundle of this project in ONNX Runtime, through the runtime's own engine and session."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import numpy as np

from benchmarks.inputs import random_ids, random_tiles
from benchmarks.peers.contestant import Float32, timed_ms

PREFILL_CHUNK_TOKENS = 512  # the runtime's own default
ROOM_TOKENS = 160
COPIED_FROM = 200  # where in the prompt the passage is that an answer repeats
NO_LOGITS = np.zeros((1, 0), np.int64)


def import_all() -> None:
    import onnxruntime  # noqa: F401

    import ovrun.session  # noqa: F401


class Ours:
    def __init__(self, folder: str, threads: int) -> None:
        from ovrun.session import Session

        self._session = Session.open(folder, device="cpu", threads=threads)
        self._engine = self._session.engine
        self._engine.load("vision", "projector", "decoder")
        self._caches: dict[int, Any] = {}

    def versions(self) -> dict[str, str]:
        return {name: version(name) for name in ("ovexport", "onnxruntime")}

    def features(self, tiles: int) -> Float32:
        return self._engine.encode(self._pixels(tiles))

    def logits(self, ids: Sequence[int], forced: Sequence[int]) -> Float32:
        cache = self._engine.new_cache(len(ids) + len(forced) + 1)
        rows = []
        for chunk in (list(ids), *([token] for token in forced)):
            last_BK = np.array([[len(chunk) - 1]])
            rows.append(self._engine.decode(cache, np.array([chunk]), logits_index_BK=last_BK)[0, 0].copy())
        return np.stack(rows)

    def encode(self, tiles: int) -> float:
        pixels_NCHW = self._pixels(tiles)
        return timed_ms(lambda: self._engine.encode(pixels_NCHW))

    def prefill(self, tokens: int) -> float:
        cache, ids_BS = self._engine.new_cache(tokens + ROOM_TOKENS), np.array([random_ids(tokens)])
        return timed_ms(lambda: self._prefill(cache, ids_BS))

    def decode(self, context: int, steps: int) -> float:
        cache = self._filled(context)
        cache.rewind(0, context)
        tokens = [np.array([[token]]) for token in random_ids(steps, seed=1)]
        last_BK = np.zeros((1, 1), np.int64)
        return timed_ms(lambda: [self._engine.decode(cache, t, logits_index_BK=last_BK) for t in tokens]) / steps

    def copy(self, context: int, tokens: int, drafted: int) -> float:
        """Milliseconds per token of an answer that repeats a passage of the prompt, drafted by prompt look-up.

        The answer is given, as random weights would not copy; drafts, steps over them, the choice of tokens and going
        back where a draft was wrong are the runtime's.
        """
        prompt = random_ids(context)
        answer = prompt[COPIED_FROM : COPIED_FROM + tokens]
        cache = self._filled(context)
        cache.rewind(0, context)
        return timed_ms(lambda: self._copy(cache, prompt, answer, drafted)) / (tokens - 1)  # one came with the prompt

    def _copy(self, cache: Any, prompt: list[int], answer: list[int], drafted: int) -> None:
        from ovrun.decode.lookup import draft

        done = 1
        while done < len(answer):
            guess = draft(np.array(prompt + answer[:done]), min(drafted, len(answer) - done - 1))
            ids_BS = np.array([[answer[done - 1], *guess]])
            length = cache.lengths[0]
            logits_BKV = self._engine.decode(cache, ids_BS, logits_index_BK=np.arange(ids_BS.shape[1])[None])
            logits_BKV[0].argmax(axis=-1)
            right = [a == b for a, b in zip(guess, answer[done:], strict=False)]
            kept = 1 + (right.index(False) if False in right else len(right))
            cache.rewind(0, length + kept)
            done += kept

    def preprocess(self, image: str) -> float:
        return timed_ms(lambda: self.tiles(image))

    def tiles(self, image: str) -> Float32:
        from ovrun.media.image import load_image
        from ovrun.tiling.tiles import tile_image

        return tile_image(load_image(image), self._session.model.geometry)

    def answer(self, image: str, ids: Sequence[int]) -> dict[str, float]:
        self._session.vision.cache.clear()  # as if the picture had never been seen
        spent = self._session.generate(images=[image], max_new_tokens=1).timings_ms
        stages = {name: spent[name] for name in ("encode", "project", "prefill", "first_token")}
        return {"preprocess": spent["decode_image"] + spent["tile"], **stages}

    def prompt_ids(self, image: str) -> list[int]:
        """What `answer` reads: the prompt with its visual tokens spread out."""
        prompt = self._session.question(images=[image]).prompt
        return [int(token) for token in np.where(prompt.sight_S >= 0, self._session.model.image_token_id, prompt.ids_S)]

    def _pixels(self, tiles: int) -> Float32:
        return random_tiles(tiles, self._session.model.geometry.image_size_px)

    def _filled(self, context: int) -> Any:
        """A cache of so many tokens, filled the first time."""
        if context not in self._caches:
            self._caches[context] = self._engine.new_cache(context + ROOM_TOKENS)
            self._prefill(self._caches[context], np.array([random_ids(context)]))
        return self._caches[context]

    def _prefill(self, cache: Any, ids_BS: Any) -> None:
        for start in range(0, ids_BS.shape[1], PREFILL_CHUNK_TOKENS):
            chunk_BS = ids_BS[:, start : start + PREFILL_CHUNK_TOKENS]
            is_last = start + chunk_BS.shape[1] == ids_BS.shape[1]
            wanted_BK = np.array([[chunk_BS.shape[1] - 1]]) if is_last else NO_LOGITS
            self._engine.decode(cache, chunk_BS, logits_index_BK=wanted_BK)


def start(folder: str, threads: int) -> Ours:
    return Ours(folder, threads)
