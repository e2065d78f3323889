"""TensorRT and CUDA themselves behind the interfaces of backend.py. Imported only where TensorRT is installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tensorrt as trt

from ovengines.cuda.device import CudaDevice
from ovengines.cuda.library import cuda_runtime
from ovengines.errors import ExitCode, OVError
from ovengines.tensorrt.api import Log
from ovengines.tensorrt.backend import BuildRequest, Progress
from ovengines.tensorrt.builder import build_engine
from ovengines.tensorrt.plan import TensorRTPlan, load_plan
from ovengines.tensorrt.presence import PLUGIN_HINT
from ovengines.tensorrt.recipe import Recipe


class NativeBackend:
    """See `backend.Backend`."""

    def __init__(self) -> None:
        """Raises OVError (MISSING_DEPENDENCY) where CUDA is missing or there is no GPU."""
        self.version = str(trt.__version__)
        runtime = cuda_runtime()
        self.device = CudaDevice(runtime)
        self.cuda_major = runtime.integer("cudaDriverGetVersion") // 1000
        self._log = Log()
        self._runtime: trt.Runtime = trt.Runtime(self._log)
        self._plugins: set[Path] = set()

    def build(self, request: BuildRequest, progress: Progress) -> Any:
        self._load_plugin(request.plugin)
        return build_engine(request, self._log, progress)

    def load(self, file: Path, recipe: Recipe, plugin: Path | None) -> TensorRTPlan:
        self._load_plugin(plugin)
        return load_plan(self._runtime, file, self._log, self.device.stream, recipe.resident_weights_percent)

    def _load_plugin(self, plugin: Path | None) -> None:
        """Into the registry that builders and runtimes of the process share; a second time would be an error."""
        if plugin is None or plugin in self._plugins:
            return
        registry: trt.IPluginRegistry = trt.get_plugin_registry()
        if registry.load_library(str(plugin)) is None:
            message = f"TensorRT {self.version} can't load the plugin {plugin}: {self._log.take()}"
            raise OVError(ExitCode.MISSING_DEPENDENCY, message, PLUGIN_HINT)
        self._plugins.add(plugin)
