"""What is brought back from a decoder, row by row: pinned memory of the host for one of its outputs.

Axes: B rows of a batch, K rows of logits asked for; what an item is, the output says: logits [V], an id, a sum.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ovengines.tensorrt.backend import Device


class Result:
    """`address` is where the device leaves the items of one run, at most `most_items` of them, one behind the other."""

    def __init__(
        self, device: Device, address: int, most_items: int, item_shape: tuple[int, ...], dtype: DTypeLike
    ) -> None:
        self._device, self._address = device, address
        self._of_a_run = device.pinned((most_items, *item_shape), dtype)
        self._items = self._of_a_run[:0]
        self.rows_BK: NDArray[Any] = self._items.reshape(0, 0, *item_shape)

    def begin(self, batch: int, num_rows: int) -> None:
        """Be ready for [batch, num_rows] items in `rows_BK`, in memory that is kept."""
        count, item_shape = batch * num_rows, self._of_a_run.shape[1:]
        if count > len(self._items):
            self._items = self._device.pinned((count, *item_shape), self._of_a_run.dtype)
        self.rows_BK = self._items[:count].reshape(batch, num_rows, *item_shape)

    def fetch(self, row: int) -> None:
        """The only item of the last run becomes item [row, 0] once the device was waited for."""
        self._device.download(self.rows_BK[row, :1], self._address)

    def fetch_some(self, row: int, places: NDArray[np.intp]) -> None:
        """The items of the last run become items [row, places]. Waits for the device."""
        items = self._of_a_run[: len(places)]
        self._device.download(items, self._address)
        self._device.synchronize()
        self.rows_BK[row, places] = items
