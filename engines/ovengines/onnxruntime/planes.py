"""Where keys and values are: one [L, H, C, D] buffer for each of them per layer, on the host.

Axes: L slots (conversations), H key/value heads, C tokens that there is room for, D head width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

# Bytes of an element, and what ONNX Runtime calls its type: ONNX's number for the one that NumPy has no name for.
ELEMENTS: dict[str, tuple[int, Any]] = {
    "float32": (4, np.float32),
    "float16": (2, np.float16),
    "bfloat16": (2, 16),
}


@dataclass(frozen=True, kw_only=True)
class PlaneShape:
    """Of every buffer, but for the room for tokens, which changes. `dtype` is a name in ELEMENTS."""

    count: int  # two per layer: keys, then values
    slots: int
    heads: int
    head_dim: int
    dtype: str

    @property
    def item_bytes(self) -> int:
        return ELEMENTS[self.dtype][0]

    @property
    def element(self) -> Any:
        return ELEMENTS[self.dtype][1]


# What ONNX Runtime binds: device, its number, element type, shape, address.
Binding = tuple[str, int, Any, tuple[int, ...], int]


class Planes(Protocol):
    """Buffers that a cache keeps its books of. They are full of zeros where nothing was written."""

    def resize(self, room: int, kept: int) -> None:
        """Room for so many tokens, the first `kept` of all slots kept. Moves the buffers."""

    def clear(self, slot: int, start: int, stop: int) -> None:
        """Zeros for these tokens."""

    def swap(self, one: int, other: int, tokens: int) -> None: ...

    def copy(self, source: int, target: int, tokens: int) -> None: ...

    def bindings(self, first: int, stop: int) -> list[Binding]:
        """The view of the slots in each buffer."""


class HostPlanes:
    """See `Planes`. Of a type that NumPy has."""

    def __init__(self, shape: PlaneShape) -> None:
        self._shape = shape
        self.buffers_LHCD = [self._zeros(0) for _ in range(shape.count)]

    def resize(self, room: int, kept: int) -> None:
        for i, old_LHCD in enumerate(self.buffers_LHCD):
            # Zeros: attention multiplies what is beyond a row's length by zero. Untouched pages cost no memory.
            new_LHCD = self._zeros(room)
            new_LHCD[:, :, :kept] = old_LHCD[:, :, :kept]
            self.buffers_LHCD[i] = new_LHCD

    def clear(self, slot: int, start: int, stop: int) -> None:
        for buffer_LHCD in self.buffers_LHCD:
            buffer_LHCD[slot, :, start:stop] = 0

    def swap(self, one: int, other: int, tokens: int) -> None:
        for buffer_LHCD in self.buffers_LHCD:
            buffer_LHCD[[one, other], :, :tokens] = buffer_LHCD[[other, one], :, :tokens]

    def copy(self, source: int, target: int, tokens: int) -> None:
        for buffer_LHCD in self.buffers_LHCD:
            buffer_LHCD[target, :, :tokens] = buffer_LHCD[source, :, :tokens]

    def bindings(self, first: int, stop: int) -> list[Binding]:
        views = [buffer_LHCD[first:stop] for buffer_LHCD in self.buffers_LHCD]
        return [("cpu", 0, self._shape.element, view.shape, view.ctypes.data) for view in views]

    def _zeros(self, room: int) -> np.ndarray:
        return np.zeros((self._shape.slots, self._shape.heads, room, self._shape.head_dim), self._shape.dtype)
