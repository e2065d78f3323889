"""A bundle of this project in ONNX Runtime, through the runtime's own engine and session."""

from __future__ import annotations

import time
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import numpy as np

from benchmarks.inputs import random_ids, random_tiles
from benchmarks.peers.contestant import Float32, timed_ms
from benchmarks.peers.forced import forced_row, forced_rows

PREFILL_CHUNK_TOKENS = 512  # the runtime's own default
ROOM_TOKENS = 160
COPIED_FROM = 200  # where in the prompt the passage is that an answer repeats
NO_LOGITS = np.zeros((1, 0), np.int64)


def import_all() -> None:
    import onnxruntime  # noqa: F401

    import ovrun.session  # noqa: F401


class Ours:
    def __init__(self, folder: str, threads: int, device: str = "cpu") -> None:
        from ovrun.session import Session

        self._session = Session.open(folder, device=device, threads=threads)
        self._engine = self._session.engine
        self._engine.load("vision", "projector", "decoder")
        self._caches: dict[int, Any] = {}
        self._forced: dict[int, Any] = {}  # engine and rows by context

    def versions(self) -> dict[str, str]:
        return {name: version(name) for name in ("ovexport", "onnxruntime")}

    def decoder_bytes(self) -> dict[str, float]:
        """Of the files of the decoder's graph, whose table is the head too where they are tied."""
        manifest = self._session.bundle.manifest
        graph = next(graph for graph in manifest.graphs if graph.role == "decoder")
        sizes = {file.name: file.size_bytes for file in manifest.files}
        past = next(tensor for tensor in graph.inputs if tensor.name.startswith("past_key_values."))
        model = manifest.model
        values = 2 * model.num_layers * model.num_kv_heads * model.head_dim
        weights = sum(sizes[name] for name in graph.data_files)
        return {"weights": float(weights), "per_token": float(values * np.dtype(past.dtype).itemsize)}

    def features(self, tiles: int) -> Float32:
        return self._engine.encode(self._pixels(tiles))

    def logits(self, ids: Sequence[int], forced: Sequence[int]) -> Float32:
        cache = self._engine.new_cache(len(ids) + len(forced) + 1)
        return np.stack([self._read(cache, chunk) for chunk in (ids, *([token] for token in forced))])

    def resumed(self, context: int, forced: Sequence[int]) -> Float32:
        self.decode(context, 2)
        cache = self._filled(context)
        cache.rewind(0, context)
        return np.stack([self._read(cache, [token]) for token in forced])

    def encode(self, tiles: int) -> float:
        pixels_NCHW = self._pixels(tiles)
        return timed_ms(lambda: self._engine.encode(pixels_NCHW))

    def prefill(self, tokens: int) -> float:
        cache, ids = self._engine.new_cache(tokens + ROOM_TOKENS), random_ids(tokens)
        return timed_ms(lambda: self._read(cache, ids))

    def decode(self, context: int, steps: int) -> float:
        cache = self._filled(context)
        cache.rewind(0, context)
        tokens = [np.array([[token]]) for token in random_ids(steps, seed=1)]
        last_BK = np.zeros((1, 1), np.int64)
        return timed_ms(lambda: [self._engine.decode(cache, t, logits_index_BK=last_BK) for t in tokens]) / steps

    def copy(self, context: int, tokens: int, drafted: int) -> float:
        """Milliseconds per token of an answer that repeats a passage of the prompt, drafted by prompt look-up.

        The answer is given; drafts, steps over them, the choice of tokens, their text and going back where a draft was
        wrong are the runtime's own `Rows`. The prompt is read, and the first token is there, before the time begins.
        """
        prompt = random_ids(context)
        if context not in self._forced:
            self._forced[context] = forced_rows(self._engine, context + ROOM_TOKENS)
        engine, rows = self._forced[context]
        engine.text = prompt + prompt[COPIED_FROM : COPIED_FROM + tokens]
        row = forced_row(self._session, prompt, tokens, drafted)
        rows.add(row)
        while not row.is_read:
            rows.step()
        spent_ms = timed_ms(lambda: list(rows.answers(row)))
        if list(row.answer.token_ids) != engine.text[context:]:
            raise ValueError("the answer is not the one that was given")
        return spent_ms / (tokens - 1)

    def preprocess(self, image: str) -> float:
        return timed_ms(lambda: self.tiles(image))

    def tiles(self, image: str) -> Float32:
        from ovrun.media.image import load_image
        from ovrun.tiling.tiles import tile_image

        return tile_image(load_image(image), self._session.model.geometry)

    def answer(self, image: str, ids: Sequence[int]) -> dict[str, float]:
        self._session.vision.cache.clear()  # as if the picture had never been seen
        return self._timed_answer(images=[image])[0]

    def _timed_answer(self, **media: Any) -> tuple[dict[str, float], Any]:
        """Stages by the runtime's own clock, the first token by the clock on the wall, as a user waits for it."""
        started = time.perf_counter()
        result = self._session.generate(**media, max_new_tokens=1)
        first_token_ms, spent = (time.perf_counter() - started) * 1e3, result.timings_ms
        stages = {name: spent[name] for name in ("encode", "project", "prefill")}
        preprocess_ms = spent["decode_image"] + spent["tile"]
        return {"preprocess": preprocess_ms, **stages, "first_token": first_token_ms}, result

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
            self._read(self._caches[context], random_ids(context))
        return self._caches[context]

    def _read(self, cache: Any, ids: Sequence[int]) -> Float32:
        """In the runtime's chunks; logits [V] of the last token."""
        for start in range(0, len(ids), PREFILL_CHUNK_TOKENS):
            chunk_BS = np.array([ids[start : start + PREFILL_CHUNK_TOKENS]])
            is_last = start + chunk_BS.shape[1] == len(ids)
            wanted_BK = np.array([[chunk_BS.shape[1] - 1]]) if is_last else NO_LOGITS
            logits_BKV = self._engine.decode(cache, chunk_BS, logits_index_BK=wanted_BK)
        return logits_BKV[0, 0].copy()


def start(folder: str, threads: int, device: str = "cpu") -> Ours:
    return Ours(folder, threads, device)
