"""A device whose memory is the host's, and ONNX Runtime in TensorRT's place: what the engine's own code is tested on.

As strict as the real ones: work is put off until the device is waited for, so a host array that changes early shows; a
captured graph keeps its shapes and addresses; no copy may leave the memory that it points into; a tensor's address is a
multiple of 256; shapes stay within the profile; what a run writes lies over nothing that it reads, and no tensor over
the scratch memory.
"""

from __future__ import annotations

import json
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from ovengines.cuda.info import DeviceInfo
from ovengines.tensorrt.backend import ALIGNMENT_BYTES, BuildRequest, Progress
from ovengines.tensorrt.recipe import Recipe

INFO = DeviceInfo(name="Testla", compute_capability=(9, 9), memory_bytes=16 << 30, driver="999.1")
DTYPES = {"float": np.float32, "float16": np.float16, "int64": np.int64, "int32": np.int32}
Work = Callable[[], None]


class HostMemory:
    def __init__(self, device: HostDevice, size_bytes: int) -> None:
        self.size_bytes = max(size_bytes, 1)
        self._block = np.zeros(self.size_bytes + ALIGNMENT_BYTES, np.uint8)
        start = -self._block.ctypes.data % ALIGNMENT_BYTES
        self.address = self._block.ctypes.data + start
        device.memories[self.address] = self._block[start : start + self.size_bytes]
        weakref.finalize(self, device.free, self.address)


class HostGraph:
    def __init__(self, device: HostDevice, work: list[Work]) -> None:
        self._device, self._work = device, work

    def launch(self) -> None:
        self._device.launches += 1
        self._device.queue.extend(self._work)


class HostDevice:
    """See `ovengines.tensorrt.backend.Device`."""

    def __init__(self) -> None:
        self.info = INFO
        self.memories: dict[int, np.ndarray] = {}
        self.queue: list[Work] = []
        self.allocations = self.launches = self.captures = self.waits = 0
        self.copied_bytes = 0  # from one place of the device to another
        self.downloaded_bytes = 0
        self.pageable_bytes = 0  # of the host, that a copy to or from the device takes a detour for
        self._pinned: list[np.ndarray] = []

    def allocate(self, size_bytes: int) -> HostMemory:
        self.allocations += 1
        return HostMemory(self, size_bytes)

    def free(self, address: int) -> None:
        self.synchronize()
        del self.memories[address]

    def pinned(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        self.allocations += 1
        array = np.zeros(shape, dtype)
        self._pinned.append(array)  # and kept, so that no other array gets its place
        return array

    def bytes_at(self, address: int, size_bytes: int) -> np.ndarray:
        for start, memory in self.memories.items():
            if start <= address < start + len(memory):
                assert address + size_bytes <= start + len(memory), "beyond the end of its memory"
                return memory[address - start : address - start + size_bytes]
        raise AssertionError(f"{address} is in no memory of the device")

    def upload(self, address: int, array: np.ndarray) -> None:
        assert array.flags.c_contiguous
        self._note_host(array)
        self.queue.append(lambda: self._write(address, array))

    def upload_rows(self, address: int, pitch_bytes: int, rows_RC: np.ndarray) -> None:
        def run() -> None:
            for number, row in enumerate(rows_RC):
                self._write(address + number * pitch_bytes, row)

        assert pitch_bytes >= rows_RC.shape[1] * rows_RC.itemsize
        self.queue.append(run)

    def download(self, array: np.ndarray, address: int) -> None:
        assert array.flags.c_contiguous
        self._note_host(array)

        def run() -> None:
            self.downloaded_bytes += array.nbytes
            if array.size:
                array.reshape(-1).view(np.uint8)[...] = self.bytes_at(address, array.nbytes)

        self.queue.append(run)

    def copy_rows(self, target: int, target_pitch: int, source: int, source_pitch: int, width: int, rows: int) -> None:
        def run() -> None:
            self.copied_bytes += rows * width
            for row in range(rows):
                to = self.bytes_at(target + row * target_pitch, width)
                to[...] = self.bytes_at(source + row * source_pitch, width)

        assert width <= min(target_pitch, source_pitch)
        self.queue.append(run)

    def clear(self, address: int, size_bytes: int) -> None:
        self.clear_rows(address, size_bytes, size_bytes, 1)

    def clear_rows(self, address: int, pitch_bytes: int, width_bytes: int, rows: int) -> None:
        def run() -> None:
            for row in range(rows):
                self.bytes_at(address + row * pitch_bytes, width_bytes)[...] = 0

        self.queue.append(run)

    def synchronize(self) -> None:
        self.waits += 1
        work, self.queue = self.queue, []
        for run in work:
            run()

    def capture(self, work: Work) -> HostGraph:
        self.captures += 1
        before, self.queue = self.queue, []
        try:
            work()
            return HostGraph(self, self.queue)
        finally:
            self.queue = before

    def _note_host(self, array: np.ndarray) -> None:
        if not any(np.may_share_memory(array, pinned) for pinned in self._pinned):
            self.pageable_bytes += array.nbytes

    def _write(self, address: int, array: np.ndarray) -> None:
        values = np.ascontiguousarray(array)
        self.bytes_at(address, values.nbytes)[...] = values.reshape(-1).view(np.uint8)


class OrtExecutor:
    def __init__(
        self, device: HostDevice, session: ort.InferenceSession, profile: dict[str, Any], scratch: range
    ) -> None:
        self._device, self._session, self._profile, self._scratch = device, session, profile, scratch
        fixed = {i.name: tuple(i.shape) for i in session.get_inputs() if all(isinstance(n, int) for n in i.shape)}
        self._shapes: dict[str, tuple[int, ...]] = fixed
        self._addresses: dict[str, int] = {}

    def set_shape(self, name: str, shape: tuple[int, ...]) -> None:
        least, _, most = self._profile[name]
        assert len(shape) == len(least), name
        assert all(a <= n <= b for a, n, b in zip(least, shape, most, strict=True)), (
            f"{name} {shape} leaves its profile"
        )
        self._shapes[name] = shape

    def bind(self, name: str, address: int) -> None:
        assert address % ALIGNMENT_BYTES == 0, f"{name} is not aligned"
        self._addresses[name] = address

    def enqueue(self) -> None:
        shapes, addresses = dict(self._shapes), dict(self._addresses)
        self._device.queue.append(lambda: self._run(shapes, addresses))

    def _run(self, shapes: dict[str, tuple[int, ...]], addresses: dict[str, int]) -> None:
        feeds, reads = {}, {}
        for tensor in self._session.get_inputs():
            dtype, shape, address = (
                DTYPES[tensor.type[len("tensor(") : -1]],
                shapes[tensor.name],
                addresses[tensor.name],
            )
            memory = self._device.bytes_at(address, int(np.prod(shape)) * np.dtype(dtype).itemsize)
            reads[tensor.name] = range(address, address + memory.nbytes)
            feeds[tensor.name] = memory.view(dtype).reshape(shape).copy()
        names = [tensor.name for tensor in self._session.get_outputs()]
        outputs = dict(zip(names, self._session.run(None, feeds), strict=True))
        writes = {name: range(addresses[name], addresses[name] + value.nbytes) for name, value in outputs.items()}
        check_apart(reads, {**writes, "the scratch memory": self._scratch})
        for name, value in outputs.items():
            self._device.bytes_at(addresses[name], value.nbytes)[...] = value.reshape(-1).view(np.uint8)


def check_apart(reads: dict[str, range], writes: dict[str, range]) -> None:
    """Inputs may lie over each other (one dummy row is the past of every layer); what is written over nothing."""
    for name, written in writes.items():
        for other, taken in (reads | writes).items():
            is_apart = written.stop <= taken.start or taken.stop <= written.start
            assert other == name or is_apart, f"{name} and {other} lie over each other"


class OrtPlan:
    scratch_bytes = 1000

    def __init__(self, device: HostDevice, session: ort.InferenceSession, profiles: list[dict[str, Any]]) -> None:
        self._device, self._session, self._profiles = device, session, profiles
        self.executors = 0

    def executor(self, profile: int, scratch: HostMemory) -> OrtExecutor:
        self._device.bytes_at(scratch.address, self.scratch_bytes)
        self.executors += 1
        taken = range(scratch.address, scratch.address + self.scratch_bytes)
        return OrtExecutor(self._device, self._session, self._profiles[profile], taken)


def open_plainly(graph: Path) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])


class OrtBackend:
    """See `ovengines.tensorrt.backend.Backend`. A serialized engine says where its graph is, and its profiles.

    `open_graph` opens a graph file that plain ONNX Runtime does not take, such as one with a plugin's node.
    """

    def __init__(
        self, version: str = "10.3.0", open_graph: Callable[[Path], ort.InferenceSession] = open_plainly
    ) -> None:
        self.version = version
        self.cuda_major = 13
        self.device = HostDevice()
        self.requests: list[BuildRequest] = []
        self.plans: dict[str, OrtPlan] = {}
        self._open_graph = open_graph

    def build(self, request: BuildRequest, progress: Progress) -> bytes:
        self.requests.append(request)
        progress(f"building the {request.role} engine", 1, 1)
        shapes = [profile.shapes for profile in request.profiles]
        return json.dumps({"role": request.role, "graph": str(request.graph_file), "profiles": shapes}).encode()

    def load(self, file: Path, recipe: Recipe, plugin: Path | None) -> OrtPlan:
        content = json.loads(file.read_text())
        session = self._open_graph(Path(content["graph"]))
        self.plans[content["role"]] = OrtPlan(self.device, session, content["profiles"])
        return self.plans[content["role"]]
