"""Reads several tokens of one conversation in one run; their keys and values go straight into its cache.

The outputs are bound to the cache's rows behind the past, which no input covers; where a row of the cache is no
multiple of a tensor's alignment, they go to scratch memory and are copied. No logits, no picture and an empty past are
one dummy row each, that the mask hides or that nothing looks at.

Axes: S tokens, D width, C past and new tokens.
"""

from __future__ import annotations

import numpy as np

from ovengines.tensorrt.backend import ALIGNMENT_BYTES, Device, Executor
from ovengines.tensorrt.cache import DeviceKVCache, Region
from ovengines.tensorrt.delta import HIDDEN, Chunk, DecoderSpec, Outputs, set_shapes
from ovengines.tensorrt.inputs import Field, InputBlock


class Reader:
    """The decoder under its profile READ. Wait for the device before the next `read`."""

    def __init__(self, device: Device, executor: Executor, spec: DecoderSpec, outputs: Outputs) -> None:
        chunk, rows = spec.bounds.chunk_tokens, spec.bounds.logits_rows
        self._device, self._executor, self._spec = device, executor, spec
        names = ("input_ids", "embed_index", "position_ids")
        fields = {name: Field(dtype="int64", count=chunk) for name in names}
        self._block = InputBlock(device, {**fields, "logits_index": Field(dtype="int64", count=rows)})
        self._images_SD = device.pinned((chunk, spec.hidden), np.float32)
        self._images = device.allocate(self._images_SD.nbytes)
        self._dummy_row = device.allocate(spec.row_bytes)
        self._corner_SC = _corner(device.pinned((chunk, 1 + chunk), np.float32))
        self._mask = device.allocate(4 * chunk * (spec.bounds.past_rows + chunk))
        self._is_direct = spec.row_bytes % ALIGNMENT_BYTES == 0
        self._scratch_pitch_bytes = -(-chunk * spec.row_bytes // ALIGNMENT_BYTES) * ALIGNMENT_BYTES
        self._scratch = device.allocate(0 if self._is_direct else spec.planes * self._scratch_pitch_bytes)
        for name in (*names, "logits_index"):
            executor.bind(name, self._block.address(name))
        executor.bind("attention_mask", self._mask.address)
        executor.bind("image_embeds", self._images.address)
        outputs.bind(executor)

    def read(self, cache: DeviceKVCache, slot: int, start: int, chunk: Chunk) -> None:
        """Run the tokens of `chunk` after the slot's first `start`. Returns before it is done."""
        tokens, rows = len(chunk.ids_S), len(chunk.logits_index_K)
        past = max(start, 1)
        self._send_inputs(chunk, start)
        self._send_mask(start, tokens)
        image_tokens = self._send_images(chunk)
        self._bind_cache(cache.region(slot), start)
        sizes = {"batch": 1, "sequence": tokens, "past": past, "total": past + tokens}
        sizes |= {"rows": max(rows, 1), "image_tokens": max(image_tokens, 1)}
        set_shapes(self._executor, self._spec.inputs, sizes)
        self._executor.enqueue()
        if not self._is_direct:
            cache.write_rows(slot, start, self._scratch.address, self._scratch_pitch_bytes, tokens)

    def _send_inputs(self, chunk: Chunk, start: int) -> None:
        host, tokens, rows = self._block.host(), len(chunk.ids_S), len(chunk.logits_index_K)
        is_visual_S = chunk.embed_index_S >= 0
        host["input_ids"][:tokens] = chunk.ids_S
        host["embed_index"][:tokens] = np.where(is_visual_S, np.cumsum(is_visual_S) - 1, -1)
        host["position_ids"][:tokens] = np.arange(start, start + tokens)
        host["logits_index"][: max(rows, 1)] = chunk.logits_index_K if rows else 0
        self._block.upload(last="logits_index", count=max(rows, 1))

    def _send_images(self, chunk: Chunk) -> int:
        """Only the visual tokens of this chunk, in its order."""
        rows = chunk.embed_index_S[chunk.embed_index_S >= 0]
        self._images_SD[: len(rows)] = chunk.image_embeds_TD[rows]
        if len(rows):
            self._device.upload(self._images.address, self._images_SD[: len(rows)])
        return len(rows)

    def _send_mask(self, start: int, tokens: int) -> None:
        """[tokens, total]: all of the past is seen, the dummy row is not, and of the new tokens those up to itself."""
        total = max(start, 1) + tokens
        self._device.clear(self._mask.address, 4 * tokens * total)
        corner_SC = self._corner_SC[:tokens, 0 if start == 0 else 1 : 1 + tokens]
        self._device.upload_rows(self._mask.address + 4 * start, 4 * total, corner_SC)

    def _bind_cache(self, region: Region, start: int) -> None:
        for plane, (past, new) in enumerate(zip(self._spec.past_names, self._spec.new_names, strict=True)):
            self._executor.bind(past, region.at(plane, 0) if start else self._dummy_row.address)
            scratch = self._scratch.address + plane * self._scratch_pitch_bytes
            self._executor.bind(new, region.at(plane, start) if self._is_direct else scratch)


def _corner(corner_SC: np.ndarray) -> np.ndarray:
    """The last columns of any mask: one of the dummy row, which nobody sees, and the triangle of the new tokens."""
    tokens = len(corner_SC)
    corner_SC[:, 0] = HIDDEN
    corner_SC[:, 1:] = np.where(np.tri(tokens, dtype=bool), np.float32(0), HIDDEN)
    return corner_SC
