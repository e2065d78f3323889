"""Keys and values in the memory of a GPU; see planes.py. Not yet run on a device.

A token's key is one row of D numbers; the rows of a head lie together, heads C rows apart. All work is asked of the
stream that ONNX Runtime computes on, so it happens in order and nothing waits.
"""

from __future__ import annotations

from typing import Protocol

from ovengines.onnxruntime.planes import Binding, PlaneShape


class Memory(Protocol):
    address: int


class Device(Protocol):
    """What is used of `ovengines.cuda.device.CudaDevice`."""

    def allocate(self, size_bytes: int) -> Memory: ...

    def clear_rows(self, address: int, pitch_bytes: int, width_bytes: int, rows: int) -> None: ...

    def copy_rows(
        self, target: int, target_pitch_bytes: int, source: int, source_pitch_bytes: int, width_bytes: int, rows: int
    ) -> None: ...


class DevicePlanes:
    """See `Planes`. `where`: what ONNX Runtime calls the device."""

    def __init__(self, shape: PlaneShape, device: Device, where: str = "cuda") -> None:
        self._shape, self._device, self._where = shape, device, where
        self._token_bytes = shape.head_dim * shape.item_bytes
        self._room = 0
        self._buffers = [device.allocate(0) for _ in range(shape.count)]
        self._spare = device.allocate(0)  # a slot's worth, to swap by way of

    @property
    def _pitch_bytes(self) -> int:
        """From one head to the next."""
        return self._room * self._token_bytes

    def resize(self, room: int, kept: int) -> None:
        """All memory is there before anything changes: where it runs out, everything is as before."""
        heads, pitch = self._shape.slots * self._shape.heads, room * self._token_bytes
        grown = [self._device.allocate(heads * pitch) for _ in self._buffers]
        spare = self._device.allocate(self._shape.heads * pitch)
        for new, old in zip(grown, self._buffers, strict=True):
            self._device.copy_rows(new.address, pitch, old.address, self._pitch_bytes, kept * self._token_bytes, heads)
        self._room, self._buffers, self._spare = room, grown, spare

    def clear(self, slot: int, start: int, stop: int) -> None:
        offset, width = start * self._token_bytes, (stop - start) * self._token_bytes
        for buffer in self._buffers:
            address = self._address(buffer, slot) + offset
            self._device.clear_rows(address, self._pitch_bytes, width, self._shape.heads)

    def swap(self, one: int, other: int, tokens: int) -> None:
        for buffer in self._buffers:
            first, second = self._address(buffer, one), self._address(buffer, other)
            self._move(self._spare.address, first, tokens)
            self._move(first, second, tokens)
            self._move(second, self._spare.address, tokens)

    def copy(self, source: int, target: int, tokens: int) -> None:
        for buffer in self._buffers:
            self._move(self._address(buffer, target), self._address(buffer, source), tokens)

    def bindings(self, first: int, stop: int) -> list[Binding]:
        shape = (stop - first, self._shape.heads, self._room, self._shape.head_dim)
        addresses = [self._address(buffer, first) for buffer in self._buffers]
        return [(self._where, 0, self._shape.element, shape, address) for address in addresses]

    def _address(self, buffer: Memory, slot: int) -> int:
        return buffer.address + slot * self._shape.heads * self._pitch_bytes

    def _move(self, target: int, source: int, tokens: int) -> None:
        pitch, width = self._pitch_bytes, tokens * self._token_bytes
        self._device.copy_rows(target, pitch, source, pitch, width, self._shape.heads)
