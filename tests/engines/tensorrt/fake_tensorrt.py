"""Stands in for the module tensorrt: notes what it is asked, and fails where it is told to.

That the real one has all of this is checked by test_tensorrt_api.py; here it is what our code does with the answers.
"""

from __future__ import annotations

from enum import Enum, IntEnum
from typing import Any

__version__ = "10.3.0"
asked: list[tuple[str, Any]] = []  # in order
fails: set[str] = set()  # names of calls
timings: list[bytes] = []  # that this device takes

NetworkDefinitionCreationFlag = IntEnum("NetworkDefinitionCreationFlag", "EXPLICIT_BATCH STRONGLY_TYPED", start=0)
BuilderFlag = Enum("BuilderFlag", "TF32 WEIGHT_STREAMING")
MemoryPoolType = Enum("MemoryPoolType", "WORKSPACE")
HardwareCompatibilityLevel = Enum("HardwareCompatibilityLevel", "NONE AMPERE_PLUS")
ExecutionContextAllocationStrategy = Enum("ExecutionContextAllocationStrategy", "STATIC USER_MANAGED")


def reset() -> None:
    asked.clear()
    fails.clear()
    timings.clear()


def note(name: str, value: Any = None) -> bool:
    """Whether it succeeds."""
    asked.append((name, value))
    return name not in fails


class ILogger:
    Severity = Enum("Severity", "INTERNAL_ERROR ERROR WARNING")
    ERROR, INTERNAL_ERROR = Severity.ERROR, Severity.INTERNAL_ERROR


class IProgressMonitor:
    pass


class IHostMemory(bytes):
    pass


class ParserError:
    def node(self) -> int:
        return 7

    def desc(self) -> str:
        return "No importer\nregistered for op: Abacus"


class OnnxParser:
    num_errors = 1

    def __init__(self, network: Any, logger: Any) -> None:
        pass

    def parse_from_file(self, model: str) -> bool:
        return note("parse", model)

    def get_error(self, index: int) -> ParserError:
        return ParserError()


class Cache:
    def __init__(self, content: bytes) -> None:
        self.content = content

    def serialize(self) -> bytes:
        return self.content + b"+"


class Config:
    def __init__(self) -> None:
        object.__setattr__(self, "progress_monitor", None)

    def __setattr__(self, name: str, value: Any) -> None:
        note(name, value)
        object.__setattr__(self, name, value)

    def set_memory_pool_limit(self, pool: Any, pool_size: int) -> None:
        note(pool.name, pool_size)

    def set_flag(self, flag: Any) -> None:
        note("set", flag.name)

    def clear_flag(self, flag: Any) -> None:
        note("clear", flag.name)

    def add_optimization_profile(self, profile: Profile) -> int:
        note("profile", profile.shapes)
        return 0

    def create_timing_cache(self, serialized_timing_cache: bytes) -> Cache:
        return Cache(serialized_timing_cache)

    def set_timing_cache(self, cache: Cache, ignore_mismatch: bool) -> bool:
        note("timings", cache.content)
        return cache.content in (b"", *timings)


class Profile:
    def __init__(self) -> None:
        self.shapes: dict[str, Any] = {}

    def set_shape(self, input: str, min: Any, opt: Any, max: Any) -> None:
        self.shapes[input] = (min, opt, max)


class Builder:
    def __init__(self, logger: Any) -> None:
        self.logger = logger

    def create_network(self, flags: int = 0) -> int:
        note("network", flags)
        return flags

    def create_builder_config(self) -> Config:
        return Config()

    def create_optimization_profile(self) -> Profile:
        return Profile()

    def build_serialized_network(self, network: Any, config: Config) -> bytes | None:
        config.progress_monitor.phase_start("build", None, 4)
        for step in range(4):
            if not config.progress_monitor.step_complete("build", step):
                return None
        config.progress_monitor.phase_finish("build")
        if note("build"):
            return IHostMemory(b"serialized")
        self.logger.log(ILogger.ERROR, "no tactic\nfits")
        return None


class Context:
    def set_optimization_profile_async(self, profile_index: int, stream_handle: int) -> bool:
        return note("profile", (profile_index, stream_handle))

    def set_device_memory(self, memory: int, size: int) -> None:
        note("scratch", (memory, size))

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        return note("shape", (name, shape))

    def set_tensor_address(self, name: str, memory: int) -> bool:
        return note("address", (name, memory))

    def execute_async_v3(self, stream_handle: int) -> bool:
        return note("enqueue", stream_handle)


class ICudaEngine:
    device_memory_size_v2 = 4096
    streamable_weights_size = 1000

    def __setattr__(self, name: str, value: Any) -> None:
        note(name, value)

    def create_execution_context(self, strategy: Any) -> Context | None:
        return Context() if note("context", strategy.name) else None


class Runtime:
    def __init__(self, logger: Any) -> None:
        self.logger = logger

    def deserialize_cuda_engine(self, serialized_engine: Any) -> ICudaEngine | None:
        if note("load", bytes(serialized_engine)):
            return ICudaEngine()
        self.logger.log(ILogger.ERROR, "Version tag does not match")
        return None


class Registry:
    def load_library(self, plugin_path: str) -> object:
        return object() if note("plugin", plugin_path) else None


def get_plugin_registry() -> Registry:
    return Registry()
