"""Small inputs that travel together: named arrays in one pinned block, and where each is on the device.

One upload carries them all. A block has as many host sides as runs may be asked for before the device is waited for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ovengines.tensorrt.backend import ALIGNMENT_BYTES, Device


@dataclass(frozen=True, kw_only=True)
class Field:
    """A flat array of at most `count` values."""

    dtype: str
    count: int


class InputBlock:
    """Values are written to `host(side)[name]`; `upload(side)` sends the first `used_bytes` of that side."""

    def __init__(self, device: Device, fields: Mapping[str, Field]) -> None:
        self._device = device
        self._fields = dict(fields)
        self._starts = _starts(self._fields)
        self._size_bytes = self._starts.pop("")
        self._memory = device.allocate(self._size_bytes)
        self._sides: list[NDArray[np.uint8]] = []
        self._views: list[dict[str, NDArray[Any]]] = []
        self.reserve(1)

    def reserve(self, sides: int) -> None:
        """Have at least so many host sides."""
        while len(self._sides) < sides:
            side = self._device.pinned((self._size_bytes,), np.uint8)
            self._sides.append(side)
            self._views.append({name: self._view(side, name) for name in self._fields})

    def host(self, side: int = 0) -> dict[str, NDArray[Any]]:
        return self._views[side]

    def address(self, name: str) -> int:
        return self._memory.address + self._starts[name]

    def upload(self, side: int = 0, *, last: str, count: int) -> None:
        """Send everything up to and with the first `count` values of `last`."""
        stop = self._starts[last] + count * np.dtype(self._fields[last].dtype).itemsize
        self._device.upload(self._memory.address, self._sides[side][:stop])

    def _view(self, side: NDArray[np.uint8], name: str) -> NDArray[Any]:
        field, start = self._fields[name], self._starts[name]
        return side[start : start + field.count * np.dtype(field.dtype).itemsize].view(field.dtype)


def _starts(fields: Mapping[str, Field]) -> dict[str, int]:
    """Where each field begins, each aligned as a tensor has to be; the end of all under the name ""."""
    starts, at = {}, 0
    for name, field in fields.items():
        starts[name] = at
        size_bytes = field.count * np.dtype(field.dtype).itemsize
        at += -(-size_bytes // ALIGNMENT_BYTES) * ALIGNMENT_BYTES
    return {**starts, "": at}
