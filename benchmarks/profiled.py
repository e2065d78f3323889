"""Who is profiled: our decoder and onnxruntime-genai's, in processes of their own, with ONNX Runtime's profiler or not.

genai's environment has nothing of ours, so this imports on top only what is in both.
"""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from benchmarks.inputs import random_ids

if TYPE_CHECKING:
    import onnxruntime as ort

    from ovengines.bundle.reader import Bundle
    from ovengines.onnxruntime.engine import OnnxRuntimeEngine

OURS, GENAI = "ours int4", "onnxruntime-genai int4"
PREFILL_CHUNK_TOKENS = 512  # the runtime's own default


class Contestant(Protocol):
    def steps_ms(self, context: int, steps: int) -> list[float]:
        """Each of so many steps of one token, the first of them on top of `context` tokens."""

    def finish(self) -> None:
        """Have the profile written."""


def start(peer: str, folder: str, threads: int, trace: str | None) -> Contestant:
    """In a worker. `trace`: how the file of the profile begins; None does not profile."""
    return _Ours(folder, threads, trace) if peer == OURS else _Genai(folder, threads, trace)


class _Ours:
    """A bundle in the runtime's own engine."""

    def __init__(self, folder: str, threads: int, trace: str | None) -> None:
        from ovengines.bundle.reader import open_bundle
        from ovengines.onnxruntime.engine import OnnxRuntimeEngine

        bundle = open_bundle(Path(folder))
        self._engine = _traced(bundle, threads, trace) if trace else OnnxRuntimeEngine(bundle, threads=threads)
        self._cache: Any = None

    def steps_ms(self, context: int, steps: int) -> list[float]:
        if self._cache is None:
            self._cache = self._engine.new_cache(context + steps)
            ids_BS = np.array([random_ids(context)])
            for start in range(0, context, PREFILL_CHUNK_TOKENS):
                self._decode(ids_BS[:, start : start + PREFILL_CHUNK_TOKENS])
        self._cache.rewind(0, context)
        return [timed_ms(self._decode, np.array([[token]])) for token in random_ids(steps, seed=1)]

    def finish(self) -> None:
        self._engine.session("decoder").end_profiling()

    def _decode(self, ids_BS: Any) -> None:
        self._engine.decode(self._cache, ids_BS, logits_index_BK=np.array([[ids_BS.shape[1] - 1]]))


def _traced(bundle: Bundle, threads: int, trace: str) -> OnnxRuntimeEngine:
    """An engine whose decoder is profiled; its own sessions have no such option."""
    import onnxruntime as ort

    from ovengines.onnxruntime.engine import OnnxRuntimeEngine

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 4
    options.enable_profiling, options.profile_file_prefix = True, trace
    session = ort.InferenceSession(str(decoder_file(bundle)), options, providers=["CPUExecutionProvider"])

    class Traced(OnnxRuntimeEngine):
        def session(self, role: str) -> ort.InferenceSession:
            return session

    return Traced(bundle, threads=threads)


def decoder_file(bundle: Bundle) -> Path:
    """The graph that the engine takes here."""
    import onnxruntime as ort

    from ovengines.onnxruntime.engine import best_decoder

    return bundle.graph_file(bundle.manifest.graph(best_decoder(bundle.manifest, ort.__version__), "ort"))


class _Genai:
    """A converted model in onnxruntime-genai, past and present in one buffer."""

    def __init__(self, folder: str, threads: int, trace: str | None) -> None:
        import onnxruntime_genai

        self._og = onnxruntime_genai
        options = {"intra_op_num_threads": threads, **({"enable_profiling": trace} if trace else {})}
        config = onnxruntime_genai.Config(folder)
        config.overlay(json.dumps({"model": {"decoder": {"session_options": options}}}))
        self._model = onnxruntime_genai.Model(config)
        self._generator: Any = None

    def steps_ms(self, context: int, steps: int) -> list[float]:
        if self._generator is None:
            params = self._og.GeneratorParams(self._model)
            params.set_search_options(max_length=context + steps, past_present_share_buffer=True, do_sample=False)
            self._generator = self._og.Generator(self._model, params)
            self._generator.append_tokens(np.array([random_ids(context)], np.int32))
        self._generator.rewind_to(context)
        tokens = [np.array([[token]], np.int32) for token in random_ids(steps, seed=1)]
        return [timed_ms(self._generator.append_tokens, token) for token in tokens]

    def finish(self) -> None:
        self._generator = self._model = None  # written when the session goes
        gc.collect()


def timed_ms(work: Callable[[Any], Any], argument: Any) -> float:
    started = time.perf_counter()
    work(argument)
    return (time.perf_counter() - started) * 1e3
