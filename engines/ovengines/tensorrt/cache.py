"""Keys and values on the device: one region per conversation, new rows behind the old ones, nothing ever moved.

A region is [planes, rows, row]: a plane for the keys and one for the values of each layer, a row for each token
(`kv_heads * head_dim` values). Regions are made whole when a slot is first written, and never grow: a captured step
holds their addresses. What no token has written is zero, for attention multiplies it by zero.
"""

from __future__ import annotations

from dataclasses import dataclass

from ovengines.errors import ExitCode, OVError
from ovengines.tensorrt.backend import Device, Memory
from ovengines.tensorrt.profiles import PAST_STEP


@dataclass(frozen=True, kw_only=True)
class Region:
    """Where the keys and values of a slot are. Two of the same fields are the same to a captured step."""

    address: int
    pitch_bytes: int  # from one plane to the next
    row_bytes: int

    def at(self, plane: int, row: int) -> int:
        return self.address + plane * self.pitch_bytes + row * self.row_bytes


class DeviceKVCache:
    """See `ovengines.engine.KVCache`. A swap exchanges regions, so it copies nothing."""

    def __init__(self, device: Device, *, planes: int, row_bytes: int, capacity: int, slots: int) -> None:
        self.capacity = capacity
        self.slots = slots
        self._device = device
        self._planes = planes
        self._row_bytes = row_bytes
        # A step reads whole steps of rows; planes begin at a multiple of what tensors are aligned to.
        self._pitch_bytes = -(-capacity // PAST_STEP) * PAST_STEP * row_bytes
        self._memories: list[Memory | None] = [None] * slots
        self._lengths = [0] * slots

    @property
    def lengths(self) -> list[int]:
        return list(self._lengths)

    @property
    def allocated_bytes(self) -> int:
        return sum(memory.size_bytes for memory in self._memories if memory)

    def region(self, slot: int) -> Region:
        """Made now if the slot has none. Raises OVError (OUT_OF_MEMORY)."""
        memory = self._memories[slot]
        if memory is None:
            memory = self._memories[slot] = self._device.allocate(self._planes * self._pitch_bytes)
        return Region(address=memory.address, pitch_bytes=self._pitch_bytes, row_bytes=self._row_bytes)

    def rewind(self, slot: int, length: int) -> None:
        held = self._lengths[slot]
        if not 0 <= length <= held:
            raise ValueError(f"slot {slot} holds {held} tokens, can't rewind to {length}")
        if length < held:  # an overflow that was rewound must not come back as 0 * NaN
            start, width_bytes = self.region(slot).at(0, length), (held - length) * self._row_bytes
            self._device.clear_rows(start, self._pitch_bytes, width_bytes, self._planes)
        self._lengths[slot] = length

    def swap(self, one: int, other: int) -> None:
        self._memories[one], self._memories[other] = self._memories[other], self._memories[one]
        self._lengths[one], self._lengths[other] = self._lengths[other], self._lengths[one]

    def copy(self, source: int, target: int, length: int) -> None:
        held = self._lengths[source]
        if not 0 <= length <= held:
            raise ValueError(f"slot {source} holds {held} tokens, can't copy {length}")
        if source == target:
            self.rewind(target, length)
            return
        self.rewind(target, 0)
        if length:
            to, from_ = self.region(target).address, self.region(source).address
            pitches = self._pitch_bytes
            self._device.copy_rows(to, pitches, from_, pitches, length * self._row_bytes, self._planes)
        self._lengths[target] = length

    def trim(self) -> None:
        """Empty slots give back their regions; a region that holds something stays whole."""
        self._memories = [
            memory if length else None for memory, length in zip(self._memories, self._lengths, strict=True)
        ]

    def check_room(self, slots: range, new_tokens: int) -> None:
        """Raises OVError (LIMIT_EXCEEDED) where one of the slots can't take so many more."""
        needed = max(self._lengths[slot] for slot in slots) + new_tokens
        if needed > self.capacity:
            raise OVError(
                ExitCode.LIMIT_EXCEEDED,
                f"{needed} tokens do not fit the cache of {self.capacity}",
                "ask for fewer new tokens, use smaller images, or take a recipe of more context_tokens",
            )

    def advance(self, slot: int, new_tokens: int) -> None:
        self._lengths[slot] += new_tokens

    def write_rows(self, slot: int, start: int, source: int, source_pitch_bytes: int, rows: int) -> None:
        """Copy new rows that a decoder left at `source`, one plane every `source_pitch_bytes`, to the slot's rows."""
        target = self.region(slot).at(0, start)
        width_bytes = rows * self._row_bytes
        self._device.copy_rows(target, self._pitch_bytes, source, source_pitch_bytes, width_bytes, self._planes)
