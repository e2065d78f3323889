"""A serialized engine in TensorRT's hands, and its execution contexts. Not yet run on a device."""

from __future__ import annotations

import mmap
from pathlib import Path

import tensorrt as trt

from ovengines.errors import ExitCode, OVError
from ovengines.tensorrt.api import Log
from ovengines.tensorrt.backend import Memory


class TensorRTPlan:
    """See `backend.Plan`. Contexts have no memory of their own: they share what they are given."""

    def __init__(self, engine: trt.ICudaEngine, log: Log, stream: int) -> None:
        self._engine: trt.ICudaEngine = engine
        self._log = log
        self._stream = stream
        self.scratch_bytes = int(self._engine.device_memory_size_v2)

    def executor(self, profile: int, scratch: Memory) -> TensorRTExecutor:
        strategy = trt.ExecutionContextAllocationStrategy.USER_MANAGED
        context: trt.IExecutionContext | None = self._engine.create_execution_context(strategy)
        if context is None or not context.set_optimization_profile_async(profile, self._stream):
            raise OVError(
                ExitCode.OUT_OF_MEMORY,
                f"TensorRT can't make an execution context: {self._log.take()}",
                "close other programs on the GPU, or use a recipe with fewer context_tokens",
            )
        context.set_device_memory(scratch.address, scratch.size_bytes)
        return TensorRTExecutor(context, self._log, self._stream)


class TensorRTExecutor:
    """See `backend.Executor`."""

    def __init__(self, context: trt.IExecutionContext, log: Log, stream: int) -> None:
        self._context: trt.IExecutionContext = context
        self._log = log
        self._stream = stream

    def set_shape(self, name: str, shape: tuple[int, ...]) -> None:
        if not self._context.set_input_shape(name, shape):
            raise self._error(f"refuses the shape {list(shape)} of {name}")

    def bind(self, name: str, address: int) -> None:
        if not self._context.set_tensor_address(name, address):
            raise self._error(f"refuses the address of {name}")

    def enqueue(self) -> None:
        if not self._context.execute_async_v3(self._stream):
            raise self._error("can't run")

    def _error(self, what: str) -> OVError:
        return OVError(ExitCode.UNEXPECTED, f"TensorRT {what}: {self._log.take()}", "please report this")


def load_plan(runtime: trt.Runtime, file: Path, log: Log, stream: int, resident_weights_percent: int) -> TensorRTPlan:
    """Raises OVError (BUNDLE_INVALID) for a file that this TensorRT does not take."""
    with open(file, "rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as serialized:
        engine: trt.ICudaEngine | None = runtime.deserialize_cuda_engine(serialized)
    if engine is None:
        message = f"TensorRT {trt.__version__} can't load the engine {file}: {log.take()}"
        raise OVError(ExitCode.BUNDLE_INVALID, message)
    if resident_weights_percent < 100:  # to be set before the first context
        streamable = int(engine.streamable_weights_size)
        engine.weight_streaming_budget_v2 = streamable * resident_weights_percent // 100
    return TensorRTPlan(engine, log, stream)
