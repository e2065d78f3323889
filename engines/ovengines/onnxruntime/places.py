"""Where ONNX Runtime computes: its providers, and where the cache of keys and values lies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ovengines.bundle.manifest import GraphSpec
from ovengines.errors import ExitCode, OVError
from ovengines.onnxruntime.planes import HostPlanes, Planes, PlaneShape


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


CPU = Place(
    name="onnxruntime-cpu",
    providers=("CPUExecutionProvider",),
    decoders=("decoder_grouped", "decoder"),  # the faster first
    planes=HostPlanes,
    is_host=True,
    tile_batch_bytes=64 << 20,  # measured: five tiles at a time are no faster than one by one (docs/log.md)
)


def cuda_place() -> Place:
    """The first GPU, on one stream for the graphs and for what is done to the cache. Not yet run on a device.

    Raises OVError (MISSING_DEPENDENCY) where there is none, or no CUDA.
    """
    from ovengines.cuda.device import CudaDevice
    from ovengines.cuda.library import cuda_runtime
    from ovengines.onnxruntime.device_planes import DevicePlanes

    device = CudaDevice(cuda_runtime())
    options = {
        "device_id": "0",
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
        check=_check_float16,
    )


def _check_float16(graph: GraphSpec) -> None:
    past = next(t for t in graph.inputs if t.name.startswith("past_key_values."))
    if past.dtype != "float16":
        raise OVError(
            ExitCode.USAGE,
            f"this bundle computes in {past.dtype}, and ONNX Runtime's attention on CUDA takes float16",
            "build it with: ovexport build --precision fp16",
        )
