"""What this package needs of a device and of TensorRT: small interfaces, so that everything else runs without either.

Addresses are integers. Work is done in the order in which it is asked for; only `synchronize` waits for it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import DTypeLike, NDArray

from ovengines.cuda.info import DeviceInfo
from ovengines.tensorrt.profiles import Profile
from ovengines.tensorrt.recipe import Recipe

ALIGNMENT_BYTES = 256  # of every address that is bound to a tensor
Progress = Callable[[str, int, int], None]  # (what is being done, steps done, steps in all)


class Memory(Protocol):
    """Device memory, given back with the last reference to it, once the work asked for is done; fit for any tensor."""

    address: int
    size_bytes: int


class Graph(Protocol):
    """Captured work: the same kernels, shapes and addresses each time; contents as they are then."""

    def launch(self) -> None: ...


class Device(Protocol):
    """See `ovengines.cuda.device.CudaDevice`, whose docstrings say what each does."""

    info: DeviceInfo

    def allocate(self, size_bytes: int) -> Memory: ...

    def pinned(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]: ...

    def upload(self, address: int, array: NDArray[Any]) -> None: ...

    def upload_rows(self, address: int, pitch_bytes: int, rows_RC: NDArray[Any]) -> None: ...

    def download(self, array: NDArray[Any], address: int) -> None: ...

    def copy_rows(
        self, target: int, target_pitch_bytes: int, source: int, source_pitch_bytes: int, width_bytes: int, rows: int
    ) -> None: ...

    def clear(self, address: int, size_bytes: int) -> None: ...

    def clear_rows(self, address: int, pitch_bytes: int, width_bytes: int, rows: int) -> None: ...

    def synchronize(self) -> None: ...

    def capture(self, work: Callable[[], None]) -> Graph: ...


class Executor(Protocol):
    """One engine under one optimisation profile. A shape or address stays until it is set again.

    After a shape has changed, `enqueue` once before it is captured, and change none as long as the capture is used.
    """

    def set_shape(self, name: str, shape: tuple[int, ...]) -> None: ...

    def bind(self, name: str, address: int) -> None: ...

    def enqueue(self) -> None: ...


class Plan(Protocol):
    """A serialized engine, loaded. Its executors may share their scratch memory, as one runs at a time."""

    scratch_bytes: int

    def executor(self, profile: int, scratch: Memory) -> Executor: ...


@dataclass(frozen=True, kw_only=True)
class BuildRequest:
    """All that is needed to make a serialized engine of one graph."""

    role: str
    graph_file: Path
    profiles: tuple[Profile, ...]
    recipe: Recipe
    exact_float32: bool  # no TF32: the graph's numbers are meant as they are
    plugin: Path | None
    timing_cache: Path


class Backend(Protocol):
    """TensorRT on one device."""

    version: str
    cuda_major: int  # the newest CUDA that the driver serves

    @property
    def device(self) -> Device: ...

    def build(self, request: BuildRequest, progress: Progress) -> Any:
        """The serialized engine, as something with the buffer protocol. Raises OVError or KeyboardInterrupt."""

    def load(self, file: Path, recipe: Recipe, plugin: Path | None) -> Plan:
        """Raises OVError (BUNDLE_INVALID) for a file that this TensorRT does not take."""
