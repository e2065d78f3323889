"""Where ONNX Runtime computes: its providers, and where the cache of keys and values lies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ovengines.bundle.manifest import GraphSpec
from ovengines.errors import ExitCode, OVError
from ovengines.onnxruntime.planes import HostPlanes, Planes, PlaneShape
from ovengines.onnxruntime.sessions import preload_cuda

AMPERE = (8, 0)  # the first with bfloat16


@dataclass(frozen=True, kw_only=True)
class Place:
    """`name` is the engine's. `decoders`: roles of the decoder that run well there, the best first."""

    name: str
    providers: tuple[Any, ...]
    decoders: tuple[str, ...]
    planes: Callable[[PlaneShape], Planes]
    is_host: bool  # the outputs of graphs are in the host's memory already
    tile_batch_bytes: int  # see Engine
    check: Callable[[GraphSpec], None] = lambda graph: None  # raises OVError for a decoder that can't run there
    read: Callable[[Path], str | bytes] = str  # what a session is made of: the file, or a model in its place


def check_on_cpu(graph: GraphSpec) -> None:
    """Raises OVError (USAGE) for a decoder that a CPU does not run."""
    if graph.cache_dtype == "bfloat16":
        raise OVError(
            ExitCode.USAGE,
            "this bundle computes in bfloat16, and ONNX Runtime has no such matrix product on a CPU",
            "use --device cuda, or build it with: ovexport build --precision int8",
        )


CPU = Place(
    name="onnxruntime-cpu",
    providers=("CPUExecutionProvider",),
    decoders=("decoder_grouped", "decoder"),  # the faster first
    planes=HostPlanes,
    is_host=True,
    tile_batch_bytes=64 << 20,  # measured: five tiles at a time are no faster than one by one (docs/log.md)
    check=check_on_cpu,
)


def cuda_place() -> Place:
    """The first GPU, on one stream for the graphs and for what is done to the cache. Not yet run on a device.

    Raises OVError (MISSING_DEPENDENCY) where there is none, or no CUDA.
    """
    from ovengines.cuda.device import CudaDevice
    from ovengines.cuda.library import cuda_runtime
    from ovengines.onnxruntime.device_planes import DevicePlanes

    preload_cuda()
    device = CudaDevice(cuda_runtime())
    options = {
        "user_compute_stream": str(device.stream),
        "arena_extend_strategy": "kSameAsRequested",  # the default doubles, and a Jetson's memory is the machine's
    }
    return Place(
        name="onnxruntime-cuda",
        providers=(("CUDAExecutionProvider", options), "CPUExecutionProvider"),
        decoders=("decoder",),
        planes=lambda shape: DevicePlanes(shape, device),
        is_host=False,
        tile_batch_bytes=8 << 30,
        check=partial(check_on_cuda, capability=device.info.compute_capability),
    )


def check_on_cuda(graph: GraphSpec, capability: tuple[int, int]) -> None:
    """Raises OVError (USAGE) for a decoder that CUDA does not run, or not on a GPU of that compute capability."""
    if graph.cache_dtype not in ("float16", "bfloat16"):
        raise OVError(
            ExitCode.USAGE,
            f"this bundle computes in {graph.cache_dtype}; ONNX Runtime's attention on CUDA takes float16 or bfloat16",
            "build it with: ovexport build --precision fp16",
        )
    if graph.cache_dtype == "bfloat16" and capability < AMPERE:
        found = ".".join(map(str, capability))
        raise OVError(
            ExitCode.USAGE,
            f"this bundle computes in bfloat16, and a GPU of compute capability {found} does not",
            "build it with: ovexport build --precision fp16",
        )
