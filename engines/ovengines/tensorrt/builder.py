"""Builds a serialized engine of one graph: strongly typed, one stream, timings kept from one build to the next.

How far it is, and how it is stopped, is in monitor.py.
"""

from __future__ import annotations

import os
from pathlib import Path

import tensorrt as trt

from ovengines.errors import ExitCode, OVError
from ovengines.tensorrt.api import Log, hardware_level, strongly_typed
from ovengines.tensorrt.backend import BuildRequest, Progress
from ovengines.tensorrt.monitor import STEPS, Phases, run_watched
from ovengines.tensorrt.profiles import Profile

_MIB = 1 << 20


class Monitor(trt.IProgressMonitor):
    """Passes on what the builder reports; a build that was cancelled stops at its next step."""

    def __init__(self, phases: Phases) -> None:
        trt.IProgressMonitor.__init__(self)
        self._phases = phases

    def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
        self._phases.start(phase_name, parent_phase, num_steps)

    def phase_finish(self, phase_name: str) -> None:
        self._phases.finish(phase_name)

    def step_complete(self, phase_name: str, step: int) -> bool:
        return self._phases.step(phase_name, step)


def build_engine(request: BuildRequest, log: Log, progress: Progress) -> trt.IHostMemory:
    """Takes minutes, and several times the memory of the weights.

    Raises:
        OVError: BUNDLE_INVALID for a graph that TensorRT does not take or can't build, with its reason.
        KeyboardInterrupt: after the build has been stopped.
    """
    phases = Phases()
    what = f"building the {request.role} engine"
    progress(what, 0, STEPS)
    serialized = run_watched(lambda: _build(request, log, phases), phases, lambda done: progress(what, done, STEPS))
    if serialized is None:
        raise OVError(
            ExitCode.BUNDLE_INVALID,
            f"TensorRT {trt.__version__} can't build {request.graph_file.name}: {log.take()}",
            "try a recipe with more workspace_mib, or build the bundle with another precision",
        )
    progress(what, STEPS, STEPS)
    return serialized


def _build(request: BuildRequest, log: Log, phases: Phases) -> trt.IHostMemory | None:
    builder: trt.Builder = trt.Builder(log)
    network: trt.INetworkDefinition = builder.create_network(strongly_typed())
    _parse(network, log, request.graph_file)
    config: trt.IBuilderConfig = builder.create_builder_config()
    _configure(config, request)
    for profile in request.profiles:
        config.add_optimization_profile(_profile(builder, profile))
    monitor = Monitor(phases)  # named, so that it outlives the build
    config.progress_monitor = monitor
    cache = _load_timings(config, request.timing_cache)
    serialized: trt.IHostMemory | None = builder.build_serialized_network(network, config)
    if serialized is not None:
        _save_timings(cache, request.timing_cache)
    return serialized


def _parse(network: trt.INetworkDefinition, log: Log, graph_file: Path) -> None:
    parser: trt.OnnxParser = trt.OnnxParser(network, log)
    if parser.parse_from_file(str(graph_file)):
        return
    errors: list[trt.ParserError] = [parser.get_error(i) for i in range(parser.num_errors)]
    told = "; ".join(_one_line(error) for error in errors[:3]) or log.take()
    raise OVError(
        ExitCode.BUNDLE_INVALID,
        f"TensorRT {trt.__version__} can't parse {graph_file.name}: {told}",
        "build the bundle again with: ovexport build --target tensorrt",
    )


def _one_line(error: trt.ParserError) -> str:
    return f"node {error.node()}: {' '.join(str(error.desc()).split())[:300]}"


def _configure(config: trt.IBuilderConfig, request: BuildRequest) -> None:
    recipe = request.recipe
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, recipe.workspace_mib * _MIB)
    config.builder_optimization_level = recipe.optimization_level
    config.max_aux_streams = 0  # steps are captured from one stream, and their kernels are small
    if recipe.hardware_compatibility != "none":
        config.hardware_compatibility_level = hardware_level(recipe.hardware_compatibility)
    if recipe.streams_weights:
        config.set_flag(trt.BuilderFlag.WEIGHT_STREAMING)
    if request.exact_float32:
        config.clear_flag(trt.BuilderFlag.TF32)  # on by default, and of float16's precision


def _profile(builder: trt.Builder, profile: Profile) -> trt.IOptimizationProfile:
    made: trt.IOptimizationProfile = builder.create_optimization_profile()
    for name, (least, usual, most) in profile.shapes.items():
        made.set_shape(name, least, usual, most)
    return made


def _load_timings(config: trt.IBuilderConfig, file: Path) -> trt.ITimingCache:
    """What kernels took in earlier builds. Those of another device or version are refused, and measured again."""
    try:
        stored = file.read_bytes()
    except OSError:
        stored = b""
    cache: trt.ITimingCache = config.create_timing_cache(stored)
    if not config.set_timing_cache(cache, ignore_mismatch=False):
        cache = config.create_timing_cache(b"")
        config.set_timing_cache(cache, ignore_mismatch=False)
    return cache


def _save_timings(cache: trt.ITimingCache, file: Path) -> None:
    partial = file.with_suffix(f".{os.getpid()}.tmp")
    timings: trt.IHostMemory = cache.serialize()
    try:
        partial.write_bytes(timings)
        partial.replace(file)
    except OSError:  # costs the next build some time, nothing else
        partial.unlink(missing_ok=True)
