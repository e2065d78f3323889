"""onnxruntime-genai: the language model by its own builder, with a shared cache and the thread count set.

Without the thread count it takes all logical cores with spinning, and without the shared cache it copies keys and
values each step; both are what its own examples set. What an option defaults to is left as it is.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.inputs import random_ids
from benchmarks.peers.contestant import Float32, timed_ms

ROOM_TOKENS = 64  # beyond the context, as the cache is set aside once


def import_all() -> None:
    import onnxruntime_genai  # noqa: F401


def prepare(parts: str, target: str, precision: str) -> None:
    """Its builder's model of the language part, by its command line."""
    options = ["-i", str(Path(parts) / "language"), "-o", target, "-p", precision, "-e", "cpu"]
    with tempfile.TemporaryDirectory() as cache:
        builder = [sys.executable, "-m", "onnxruntime_genai.models.builder"]
        subprocess.run([*builder, *options, "-c", cache], check=True)


class Genai:
    def __init__(self, folder: str, threads: int) -> None:
        import onnxruntime_genai

        self._og, self._folder = onnxruntime_genai, Path(folder)
        config = onnxruntime_genai.Config(folder)
        config.overlay(json.dumps({"model": {"decoder": {"session_options": {"intra_op_num_threads": threads}}}}))
        self._model = onnxruntime_genai.Model(config)
        self._generators: dict[int, Any] = {}  # by context, filled

    def versions(self) -> dict[str, str]:
        return {name: version(name) for name in ("onnxruntime-genai", "onnxruntime")}

    def logits(self, ids: Sequence[int], forced: Sequence[int]) -> Float32:
        generator = self._generator(len(ids) + len(forced) + 1)
        return np.stack([self._logits_of(generator, chunk) for chunk in (list(ids), *([token] for token in forced))])

    def resumed(self, context: int, forced: Sequence[int]) -> Float32:
        self.decode(context, 2)
        generator = self._at(context)
        return np.stack([self._logits_of(generator, [token]) for token in forced])

    def decoder_bytes(self) -> dict[str, float]:
        """Of its file; keys and values are in float32, as its builder makes them for this processor."""
        decoder = json.loads((self._folder / "genai_config.json").read_text())["model"]["decoder"]
        values = 2 * decoder["num_hidden_layers"] * decoder["num_key_value_heads"] * decoder["head_size"]
        return {"weights": float((self._folder / "model.onnx.data").stat().st_size), "per_token": 4.0 * values}

    def prefill(self, tokens: int) -> float:
        generator = self._generator(tokens + ROOM_TOKENS)
        ids = np.array([random_ids(tokens)], np.int32)
        return timed_ms(lambda: generator.append_tokens(ids))

    def decode(self, context: int, steps: int) -> float:
        generator = self._at(context)
        tokens = [np.array([[token]], np.int32) for token in random_ids(steps, seed=1)]
        return timed_ms(lambda: [generator.append_tokens(token) for token in tokens]) / steps

    def _at(self, context: int) -> Any:
        """A generator that holds so many tokens, read the first time."""
        if context not in self._generators:
            self._generators[context] = self._generator(context + ROOM_TOKENS)
            self._generators[context].append_tokens(np.array([random_ids(context)], np.int32))
        self._generators[context].rewind_to(context)
        return self._generators[context]

    def _logits_of(self, generator: Any, ids: list[int]) -> Float32:
        generator.append_tokens(np.array([ids], np.int32))
        return np.array(generator.get_logits(), np.float32).reshape(-1)

    def _generator(self, max_length: int) -> Any:
        params = self._og.GeneratorParams(self._model)
        params.set_search_options(max_length=max_length, past_present_share_buffer=True, do_sample=False)
        return self._og.Generator(self._model, params)


def start(folder: str, threads: int) -> Genai:
    return Genai(folder, threads)
