"""A large tensor of an engine in both places: on the device, and in pinned host memory that copies go through at once.

The first axis is of any length up to the largest. Made once and bound once; nothing is allocated afterwards.
"""

from __future__ import annotations

from typing import Any

from numpy.typing import DTypeLike, NDArray

from ovengines.tensorrt.backend import Device, Executor


class StagedTensor:
    """Write to `host` before `send`, read from it after `fetch` and once the device was waited for."""

    def __init__(
        self, device: Device, executor: Executor, name: str, shape: tuple[int, ...], dtype: DTypeLike = "float32"
    ) -> None:
        self.host: NDArray[Any] = device.pinned(shape, dtype)
        self._device, self._executor, self._name = device, executor, name
        self._memory = device.allocate(self.host.nbytes)
        executor.bind(name, self._memory.address)

    def send(self, count: int) -> None:
        """The first `count` of the host are the executor's input."""
        self._device.upload(self._memory.address, self.host[:count])
        self._executor.set_shape(self._name, (count, *self.host.shape[1:]))

    def fetch(self, count: int) -> None:
        """The first `count` of the executor's output come to the host."""
        self._device.download(self.host[:count], self._memory.address)
