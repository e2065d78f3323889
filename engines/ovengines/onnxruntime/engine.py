"""Runs a bundle's graphs with ONNX Runtime, keys and values bound in place.

Graphs are loaded when first needed: a question without an image never loads the tower. Axes as in engine.py.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from ovengines.bundle.manifest import GraphSpec, Manifest
from ovengines.bundle.reader import Bundle
from ovengines.engine import Best, Float32, Int64, best_of, best_rows
from ovengines.engine import KVCache as KVCacheProtocol
from ovengines.errors import ExitCode, OVError
from ovengines.onnxruntime.cache import SharedKVCache
from ovengines.onnxruntime.places import CPU, Place
from ovengines.onnxruntime.planes import PlaneShape
from ovengines.onnxruntime.sessions import is_new_enough, open_session, run_error


@dataclass
class _Bound:
    """A decoder binding for one set of slots: valid while the cache's buffers stay where they are."""

    cache: SharedKVCache
    generation: int
    slots: tuple[int, int]
    outputs: tuple[str, ...]
    binding: ort.IOBinding


class OnnxRuntimeEngine:
    """See `ovengines.engine.Engine`."""

    def __init__(
        self, bundle: Bundle, *, place: Place = CPU, threads: int | None = None, decoder: str | None = None
    ) -> None:
        """Raises OVError (USAGE) for a bundle whose decoder can't run there."""
        self.bundle = bundle
        self.threads = threads
        self.name = place.name
        self.context_tokens = bundle.manifest.model.max_positions
        self.best_is_cheap = not place.is_host
        self.tile_batch_bytes = place.tile_batch_bytes
        self.tower_tiles: int | None = None
        self._place = place
        self._decoder_role = decoder or best_decoder(bundle.manifest, ort.__version__, place.decoders)
        graph = bundle.manifest.graph(self._decoder_role, "ort")
        place.check(graph)
        self._outputs_of_best = _outputs_of_best(graph)
        self._sessions: dict[str, ort.InferenceSession] = {}
        self._bound: _Bound | None = None
        self._only_what_is_bound = ort.RunOptions()
        self._only_what_is_bound.only_execute_path_to_fetches = True
        self._no_embeds_TD = np.zeros((0, bundle.manifest.model.hidden), np.float32)

    def session(self, role: str) -> ort.InferenceSession:
        key = self._key(role)
        if key not in self._sessions:
            self._sessions[key] = open_session(
                self.bundle, key, self.threads, self._place.providers, read=self._place.read
            )
        return self._sessions[key]

    def _key(self, role: str) -> str:
        return self._decoder_role if role == "decoder" else role

    def load(self, *roles: str) -> None:
        """Graphs that are not loaded yet, each on a thread of its own: most of it is one core's work."""
        missing = [role for role in dict.fromkeys(roles) if self._key(role) not in self._sessions]
        if len(missing) < 2:
            for role in missing:
                self.session(role)
            return
        with ThreadPoolExecutor(len(missing)) as pool:
            list(pool.map(self.session, missing))

    def encode(self, pixels_NCHW: Float32) -> Float32:
        return self._run("vision", {"pixel_values": pixels_NCHW})

    def project(self, features_NPD: Float32, indices_T4: NDArray[np.int32], weights_T4: Float32) -> Float32:
        feeds = {"features": features_NPD, "indices": indices_T4, "weights": weights_T4}
        return self._run("projector", feeds)

    def new_cache(self, capacity: int, slots: int = 1) -> SharedKVCache:
        model = self.bundle.manifest.model
        if capacity > self.context_tokens:
            raise OVError(
                ExitCode.LIMIT_EXCEEDED,
                f"{capacity} tokens exceed the model's context of {self.context_tokens}",
                "ask for fewer new tokens, or use smaller images",
            )
        dtype = self.bundle.manifest.graph("decoder", "ort").cache_dtype
        assert dtype is not None
        shape = PlaneShape(
            count=2 * model.num_layers,
            slots=slots,
            heads=model.num_kv_heads,
            head_dim=model.head_dim,
            dtype=dtype,
        )
        return SharedKVCache(self._place.planes(shape), capacity=capacity, slots=slots)

    def decode(
        self,
        cache: KVCacheProtocol,
        ids_BS: Int64,
        *,
        logits_index_BK: Int64,
        embed_index_BS: Int64 | None = None,
        image_embeds_TD: Float32 | None = None,
        slots: slice | None = None,
    ) -> Float32:
        assert isinstance(cache, SharedKVCache)
        feeds = self._feeds(ids_BS, logits_index_BK, embed_index_BS, image_embeds_TD)
        (logits_BKV,) = self._run_decoder(cache, slots or slice(0, cache.slots), feeds, ("logits",))
        return np.asarray(logits_BKV, np.float32)

    def decode_best(
        self,
        cache: KVCacheProtocol,
        ids_BS: Int64,
        *,
        logits_index_BK: Int64,
        embed_index_BS: Int64 | None = None,
        image_embeds_TD: Float32 | None = None,
        slots: slice | None = None,
    ) -> list[list[Best]]:
        assert isinstance(cache, SharedKVCache)
        feeds = self._feeds(ids_BS, logits_index_BK, embed_index_BS, image_embeds_TD)
        outputs = self._outputs_of_best
        results = self._run_decoder(cache, slots or slice(0, cache.slots), feeds, outputs)
        if outputs == ("logits",):
            return best_of(np.asarray(results[0], np.float32))
        return best_rows(results[0], np.isfinite(results[1]))

    def _feeds(
        self, ids_BS: Int64, logits_index_BK: Int64, embed_index_BS: Int64 | None, image_embeds_TD: Float32 | None
    ) -> dict[str, np.ndarray]:
        return {
            "input_ids": ids_BS,
            "embed_index": np.full_like(ids_BS, -1) if embed_index_BS is None else embed_index_BS,
            "image_embeds": self._no_embeds_TD if image_embeds_TD is None else image_embeds_TD,
            "logits_index": logits_index_BK,
        }

    def _run_decoder(
        self, cache: SharedKVCache, slots: slice, feeds: dict[str, np.ndarray], outputs: tuple[str, ...]
    ) -> list[np.ndarray]:
        """Append the tokens, and bring the outputs named to the host."""
        new_tokens = feeds["input_ids"].shape[1]
        cache.reserve(slots, new_tokens)
        totals_B = np.array([n + new_tokens for n in cache.lengths[slots]], np.int32)
        binding = self._bind_cache(cache, slots, outputs)
        lengths = {"seqlens_k": totals_B - 1, "total_sequence_length": np.array(totals_B.max())}
        for name, value in {**feeds, **lengths}.items():
            binding.bind_cpu_input(name, np.require(value, requirements="C"))
        for name in outputs:
            binding.bind_output(name)
        try:
            self.session("decoder").run_with_iobinding(binding, self._only_what_is_bound)
        except Exception as err:  # onnxruntime's own exception types share no base class
            raise run_error("decoder", err) from err
        cache.advance(slots, new_tokens)
        return [value.numpy() for value in binding.get_outputs()[-len(outputs) :]]

    def _run(self, role: str, feeds: dict[str, np.ndarray]) -> Float32:
        try:
            output = self.session(role).run(None, feeds)[0]
        except OVError:
            raise
        except Exception as err:  # onnxruntime's own exception types share no base class
            raise run_error(role, err) from err
        return np.asarray(output, np.float32)

    def _bind_cache(self, cache: SharedKVCache, slots: slice, outputs: tuple[str, ...]) -> ort.IOBinding:
        """A binding in which past and present of each layer are one and the same memory."""
        first, stop, _ = slots.indices(cache.slots)
        bound = self._bound
        key = (cache.generation, (first, stop), outputs)
        if bound and bound.cache is cache and (bound.generation, bound.slots, bound.outputs) == key:
            return bound.binding
        binding = self.session("decoder").io_binding()
        for i, args in enumerate(cache.planes.bindings(first, stop)):
            layer, kind = i // 2, ("key", "value")[i % 2]
            binding.bind_input(f"past_key_values.{layer}.{kind}", *args)
            binding.bind_output(f"present.{layer}.{kind}", *args)
        self._bound = _Bound(
            cache=cache, generation=cache.generation, slots=(first, stop), outputs=outputs, binding=binding
        )
        return binding


def _outputs_of_best(graph: GraphSpec) -> tuple[str, ...]:
    """Graphs for CPUs, and older bundles, have only the logits."""
    named = ("greedy_ids", "logits_sum")
    return named if {tensor.name for tensor in graph.outputs}.issuperset(named) else ("logits",)


def best_decoder(manifest: Manifest, runtime_version: str, roles: tuple[str, ...] = CPU.decoders) -> str:
    """The first of the roles that the bundle has and that this version of ONNX Runtime loads."""
    for role in roles:
        if role in manifest.roles("ort") and is_new_enough(manifest.graph(role, "ort"), runtime_version):
            return role
    return roles[-1]
