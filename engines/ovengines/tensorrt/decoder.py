"""Decodes with an engine that takes one conversation at a time: several slots one after the other, prompts in chunks.

Axes: B rows of a batch, S new tokens, K rows of logits asked for, V vocabulary, T visual tokens, D width.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ovengines.engine import Best, Float32, Int64, best_rows
from ovengines.tensorrt.backend import Device, Plan
from ovengines.tensorrt.cache import DeviceKVCache
from ovengines.tensorrt.delta import Chunk, DecoderSpec, Outputs
from ovengines.tensorrt.profiles import READ
from ovengines.tensorrt.reader import Reader
from ovengines.tensorrt.results import Result
from ovengines.tensorrt.stepper import Stepper


class Decoder:
    """A loaded decoder engine with all the memory that it will ever need but the cache's."""

    def __init__(self, device: Device, plan: Plan, spec: DecoderSpec, *, cuda_graphs: bool) -> None:
        self.spec = spec
        self._device = device
        self._scratch = device.allocate(plan.scratch_bytes)
        self._outputs = Outputs(device, spec)
        self._reader = Reader(device, plan.executor(READ, self._scratch), spec, self._outputs)
        self._stepper = Stepper(device, plan, self._scratch, spec, self._outputs, cuda_graphs=cuda_graphs)
        rows = spec.bounds.logits_rows
        self._logits = Result(device, self._outputs.logits.address, rows, (spec.vocab_size,), np.float32)
        self._ids = Result(device, self._outputs.ids.address, rows, (), np.int32)
        self._sums = Result(device, self._outputs.sums.address, rows, (), np.float32)

    def new_cache(self, capacity: int, slots: int) -> DeviceKVCache:
        """As much of `capacity` as the engine was built for."""
        self._stepper.reserve(slots)
        return DeviceKVCache(
            self._device,
            planes=self.spec.planes,
            row_bytes=self.spec.row_bytes,
            capacity=min(capacity, self.spec.bounds.capacity_tokens),
            slots=slots,
        )

    def decode(
        self,
        cache: DeviceKVCache,
        ids_BS: Int64,
        *,
        logits_index_BK: Int64,
        embed_index_BS: Int64 | None = None,
        image_embeds_TD: Float32 | None = None,
        slots: slice | None = None,
        least_past: int = 0,
        by_step: bool = True,
    ) -> Float32:
        """See `ovengines.engine.Engine.decode`. `by_step` False has single tokens read like a prompt; for
        `least_past` see Stepper.step."""
        chunks = _chunks(ids_BS, embed_index_BS, image_embeds_TD, logits_index_BK, self.spec.hidden)
        self._append(cache, chunks, slots, (self._logits,), least_past=least_past, by_step=by_step)
        return self._logits.rows_BK

    def decode_best(
        self,
        cache: DeviceKVCache,
        ids_BS: Int64,
        *,
        logits_index_BK: Int64,
        embed_index_BS: Int64 | None = None,
        image_embeds_TD: Float32 | None = None,
        slots: slice | None = None,
    ) -> list[list[Best]]:
        """See `ovengines.engine.Engine.decode_best`."""
        chunks = _chunks(ids_BS, embed_index_BS, image_embeds_TD, logits_index_BK, self.spec.hidden)
        self._append(cache, chunks, slots, (self._ids, self._sums))
        return best_rows(self._ids.rows_BK, np.isfinite(self._sums.rows_BK))

    def decode_all(
        self,
        cache: DeviceKVCache,
        ids_BS: Int64,
        *,
        logits_index_BK: Int64,
        embed_index_BS: Int64 | None = None,
        image_embeds_TD: Float32 | None = None,
        least_past: int = 0,
    ) -> tuple[Float32, NDArray[np.int32], Float32]:
        """Copies of the logits [B, K, V], the likeliest tokens [B, K] and the sums [B, K] of one run: for the gate."""
        chunks = _chunks(ids_BS, embed_index_BS, image_embeds_TD, logits_index_BK, self.spec.hidden)
        self._append(cache, chunks, None, (self._logits, self._ids, self._sums), least_past=least_past)
        return self._logits.rows_BK.copy(), self._ids.rows_BK.copy(), self._sums.rows_BK.copy()

    def _append(
        self,
        cache: DeviceKVCache,
        chunks: list[Chunk],
        slots: slice | None,
        results: Sequence[Result],
        *,
        least_past: int = 0,
        by_step: bool = True,
    ) -> None:
        """The tokens of each chunk at the end of its slot; `results` are filled."""
        numbers = range(cache.slots)[slots or slice(None)]
        new_tokens, num_rows = len(chunks[0].ids_S), len(chunks[0].logits_index_K)
        cache.check_room(numbers, new_tokens)
        for result in results:
            result.begin(len(numbers), num_rows)
        if by_step and new_tokens == 1 and num_rows <= 1:
            for side, (slot, chunk) in enumerate(zip(numbers, chunks, strict=True)):
                self._stepper.step(side, cache, slot, chunk, results if num_rows else (), least_past=least_past)
            self._device.synchronize()
        else:
            for row, (slot, chunk) in enumerate(zip(numbers, chunks, strict=True)):
                self._read(cache, slot, chunk, row, results)
        for slot in numbers:
            cache.advance(slot, new_tokens)

    def _read(self, cache: DeviceKVCache, slot: int, whole: Chunk, row: int, results: Sequence[Result]) -> None:
        """The tokens in runs of at most chunk_tokens; a run that should give too many logits is done again for more."""
        most_tokens, most_rows = self.spec.bounds.chunk_tokens, self.spec.bounds.logits_rows
        for start in range(0, len(whole.ids_S), most_tokens):
            stop = min(start + most_tokens, len(whole.ids_S))
            wanted = np.flatnonzero((whole.logits_index_K >= start) & (whole.logits_index_K < stop))
            for first in range(0, max(len(wanted), 1), most_rows):
                some = wanted[first : first + most_rows]
                self._reader.read(cache, slot, cache.lengths[slot] + start, whole.part(start, stop, some))
                for result in results:
                    result.fetch_some(row, some)


def _chunks(
    ids_BS: Int64, embed_index_BS: Int64 | None, image_embeds_TD: Float32 | None, logits_index_BK: Int64, hidden: int
) -> list[Chunk]:
    index_BS = np.full_like(ids_BS, -1) if embed_index_BS is None else embed_index_BS
    embeds_TD = np.zeros((0, hidden), np.float32) if image_embeds_TD is None else image_embeds_TD
    embeds_TD = np.ascontiguousarray(embeds_TD, np.float32)
    return [
        Chunk(ids_S=ids_S, embed_index_S=index_S, image_embeds_TD=embeds_TD, logits_index_K=index_K)
        for ids_S, index_S, index_K in zip(ids_BS, index_BS, logits_index_BK, strict=True)
    ]
