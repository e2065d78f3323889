"""llama.cpp through llama-cpp-python: the language model as GGUF, quantised by llama.cpp's own quantiser.

Threads are set for steps and batches alike; batch and micro-batch are its defaults of 512, keys and values in float16.
Flash attention is llama.cpp's own default, which tries it and keeps it where it runs.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.inputs import random_ids
from benchmarks.peers.contestant import Float32, timed_ms
from benchmarks.peers.gguf_file import write_gguf

ROOM_TOKENS = 64


def import_all() -> None:
    import llama_cpp  # noqa: F401


def prepare(parts: str, target: str, precision: str) -> None:
    """`target/model.gguf` of a file type such as q4_0, from the float32 part."""
    import llama_cpp

    folder = Path(target)
    folder.mkdir(parents=True, exist_ok=True)
    wide = folder / "float32.gguf"
    write_gguf(Path(parts) / "language", wide)
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype = getattr(llama_cpp, f"LLAMA_FTYPE_MOSTLY_{precision.upper()}")
    target_file = str(folder / "model.gguf").encode()
    if code := llama_cpp.llama_model_quantize(str(wide).encode(), target_file, ctypes.byref(params)):
        raise RuntimeError(f"llama_model_quantize returned {code}")
    wide.unlink()


class LlamaCpp:
    def __init__(self, folder: str, threads: int, flash: bool = True) -> None:
        self._flash = flash
        self._file, self._threads = str(Path(folder) / "model.gguf"), threads
        self._models: dict[int, Any] = {}  # by room: the cache is set aside once
        self._held = -1  # context that was read, of which the model may hold more

    def versions(self) -> dict[str, str]:
        return {"llama-cpp-python": version("llama-cpp-python")}

    def logits(self, ids: Sequence[int], forced: Sequence[int]) -> Float32:
        model, rows = self._model(len(ids) + len(forced)), []
        self._held = -1
        model.reset()
        for chunk in (list(ids), *([token] for token in forced)):
            rows.append(self._logits_of(model, chunk))
        return np.stack(rows)

    def resumed(self, context: int, forced: Sequence[int]) -> Float32:
        self.decode(context, 2)
        model = self._at(context)
        return np.stack([self._logits_of(model, [token]) for token in forced])

    def decoder_bytes(self) -> dict[str, float]:
        """Of all tensors; keys and values are in float16."""
        from llama_cpp import llama_model_n_embd, llama_model_n_head, llama_model_n_head_kv, llama_model_n_layer

        model = self._model(0)._model.model
        width = llama_model_n_embd(model) / llama_model_n_head(model) * llama_model_n_head_kv(model)
        weights = Path(self._file).stat().st_size
        return {"weights": float(weights), "per_token": 2 * 2 * llama_model_n_layer(model) * width}

    def prefill(self, tokens: int) -> float:
        model, ids = self._model(tokens), random_ids(tokens)
        self._held = -1
        model.reset()
        return timed_ms(lambda: model.eval(ids))

    def decode(self, context: int, steps: int) -> float:
        model, tokens = self._at(context), random_ids(steps, seed=1)
        return timed_ms(lambda: [model.eval([token]) for token in tokens]) / steps

    def _at(self, context: int) -> Any:
        """A model that holds so many tokens, read the first time."""
        model = self._model(context)
        if self._held != context:
            model.reset()
            model.eval(random_ids(context))
            self._held = context
        model.n_tokens = context  # what lies beyond is dropped by the next call
        return model

    def _logits_of(self, model: Any, ids: list[int]) -> Float32:
        """Of the last token, which alone is asked for."""
        model.eval(ids)
        return np.ctypeslib.as_array(model._ctx.get_logits(), shape=(model.n_vocab(),)).copy()

    def _model(self, tokens: int) -> Any:
        """A context with room for so many tokens; one at a time, as each has a cache."""
        from llama_cpp import Llama

        room = tokens + ROOM_TOKENS
        if room not in self._models:
            self._models.clear()
            self._held = -1
            threads = {"n_threads": self._threads, "n_threads_batch": self._threads}
            self._models[room] = Llama(self._file, n_ctx=room, **threads, flash_attn=self._flash, verbose=False)
        return self._models[room]


def start(folder: str, threads: int, flash: bool = True) -> LlamaCpp:
    return LlamaCpp(folder, threads, flash)
