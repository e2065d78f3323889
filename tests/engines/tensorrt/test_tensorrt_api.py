"""All that we use of TensorRT's Python API is in its real bindings, in every version that we mean to serve.

The bindings come from the package index, each into a folder of its own under build/, and are looked at in a process of
their own; what they link to is replaced by empty libraries. Without an index the test is skipped, and says so.
"""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SOURCES = ROOT / "engines" / "ovengines" / "tensorrt"
CACHE = ROOT / "build" / "tensorrt-bindings"
CHECKER = Path(__file__).with_name("api_usage.py")
VERSIONS = {
    "10.3.0": "tensorrt-cu12-bindings",  # JetPack 6.2
    "10.13.3.9": "tensorrt-cu13-bindings",  # JetPack 7.0
    "10.16.1.11": "tensorrt-cu12-bindings",
    "11.4.0.106": "tensorrt-cu13-bindings",
}
LIBRARIES = ("libnvinfer", "libnvinfer_plugin", "libnvonnxparser")
SYMBOLS = (
    "createInferBuilder_INTERNAL",
    "createInferRefitter_INTERNAL",
    "createInferRuntime_INTERNAL",
    "createNvOnnxParserRefitter_INTERNAL",
    "createNvOnnxParser_INTERNAL",
    "getBuilderPluginRegistry",
    "getNvOnnxParserVersion",
    "getPluginRegistry",
    "initLibNvInferPlugins",
)


def once(folder: Path, fill: Callable[[Path], None]) -> Path:
    """The folder, filled if it is not there yet; whole or not at all."""
    if not folder.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE, prefix=".") as partial:
            inner = Path(partial, "folder")
            inner.mkdir()
            fill(inner)
            with suppress(OSError):  # another process was faster
                inner.rename(folder)
    return folder


def bindings(version: str) -> Path:
    """The folder that has the bindings; downloaded once."""

    def download(folder: Path) -> None:
        pip = [sys.executable, "-m", "pip", "install", "--no-deps", "--quiet", "--disable-pip-version-check"]
        wanted = ["--retries", "1", "--timeout", "10", "--target", str(folder), f"{VERSIONS[version]}=={version}"]
        done = subprocess.run([*pip, *wanted], capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"{VERSIONS[version]} {version} can't be had: {done.stderr.strip().splitlines()[-1]}")

    return once(CACHE / version, download)


def empty_libraries(major: str) -> Path:
    """What the bindings link to, without a line of TensorRT in it."""

    def compile_(folder: Path) -> None:
        compiler = shutil.which("cc")
        if compiler is None:
            pytest.skip("no C compiler for the empty libraries")
        source = folder / "empty.c"
        source.write_text("\n".join(f"void *{symbol}(void) {{ return 0; }}" for symbol in SYMBOLS))
        for library in LIBRARIES:
            name = f"{library}.so.{major}"
            link = [compiler, "-shared", "-fPIC", f"-Wl,-soname,{name}", "-o", str(folder / name), str(source)]
            subprocess.run(link, check=True)

    return once(CACHE / f"empty-{major}", compile_)


def run_with(version: str, *arguments: str) -> str:
    """What a process prints that finds these bindings."""
    if sys.platform != "linux":
        pytest.skip("the empty libraries are made for Linux")
    environment = {**os.environ, "LD_LIBRARY_PATH": str(empty_libraries(version.split(".")[0]))}
    command = [sys.executable, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def users_of_tensorrt() -> dict[Path, str | None]:
    """Files of ours that import it, and the name under which they do."""
    files = [file for folder in ("engines", "kernels", "runtime", "ovexport") for file in (ROOT / folder).rglob("*.py")]
    found: dict[Path, str | None] = {}
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            assert not (isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] == "tensorrt"), file
            for alias in node.names if isinstance(node, ast.Import) else []:
                if alias.name.split(".")[0] == "tensorrt":
                    found[file] = alias.asname
    return found


def test_few_files_know_tensorrt_and_all_by_one_name() -> None:
    users = {"presence.py": None, **dict.fromkeys(("api.py", "builder.py", "native.py", "plan.py"), "trt")}
    assert users_of_tensorrt() == {SOURCES / name: known_as for name, known_as in users.items()}


@pytest.mark.parametrize("version", VERSIONS)
def test_everything_used_is_there(version: str) -> None:
    found = json.loads(run_with(version, str(CHECKER), str(bindings(version)), *map(str, users_of_tensorrt())))
    assert found["version"] == version
    assert not found["problems"], "\n".join(found["problems"])
    assert len(found["checked"]) > 50 and "IExecutionContext.execute_async_v3" in found["checked"]


WRONG = """
import tensorrt as trt

class Half(trt.IProgressMonitor):
    def step_complete(self, phase_name: str) -> bool:
        return True

def wrong(log: trt.ILogger, context: trt.IExecutionContext, contexts: list[trt.IExecutionContext]) -> None:
    builder = trt.Builder(log)
    config = builder.create_builder_config()
    config.set_flag(trt.BuilderFlag.FP61)
    config.workspace_size = 5
    builder.create_network(1, 2)
    builder.create_network(flag=1)
    context.execute_async_v2(3)
    for one in contexts:
        one.set_input_shape("x")
    config.get_timing_cache().serialise()
    config.progress_monitor.cancel()
    engine: trt.ICudaEngine = context.engine
    engine.num_layers = 3
    cache: trt.ITimingCache = builder.create_builder_config()
    trt.Bilder(log)
"""
TOLD = [
    "Half lacks phase_finish of IProgressMonitor",
    "Half lacks phase_start of IProgressMonitor",
    "Half.step_complete takes other parameters than IProgressMonitor's",
    "there is no BuilderFlag.FP61",
    "there is no IBuilderConfig.workspace_size",
    "builder.create_network(1, 2) fits none of",
    "builder.create_network(flag=1) fits none of",
    "there is no IExecutionContext.execute_async_v2",
    "one.set_input_shape('x') fits none of",
    "there is no ITimingCache.serialise",
    "nobody says what has the attribute cancel",
    "ICudaEngine.num_layers can't be set",
    "annotated as ITimingCache, given IBuilderConfig",
    "there is no tensorrt_bindings.Bilder",
]


def test_what_is_wrong_is_found(tmp_path: Path) -> None:
    (tmp_path / "wrong.py").write_text(WRONG)
    version = "10.16.1.11"
    found = json.loads(run_with(version, str(CHECKER), str(bindings(version)), str(tmp_path / "wrong.py")))
    missed = [told for told in TOLD if not any(told in problem for problem in found["problems"])]
    assert not missed and len(found["problems"]) == len(TOLD), found["problems"]


RUN = """
import sys
sys.path.insert(0, sys.argv[1])
import tensorrt_bindings
sys.modules["tensorrt"] = tensorrt_bindings
from ovengines.errors import OVError
from ovengines.tensorrt import api, builder, native, plan
from ovengines.tensorrt.monitor import Phases
from ovengines.tensorrt.presence import require_tensorrt

log = api.Log()
log.log(tensorrt_bindings.ILogger.ERROR, "first\\n line")
log.log(tensorrt_bindings.ILogger.WARNING, "nothing")
assert log.take() == "first line" and log.take() == "TensorRT gives no reason"
phases = Phases()
monitor = builder.Monitor(phases)
monitor.phase_start("build", None, 2)
assert monitor.step_complete("build", 0) and phases.done() == 500
phases.cancel()
assert not monitor.step_complete("build", 1)
monitor.phase_finish("build")
assert api.hardware_level("none").name == "NONE" and api.hardware_level("ampere_plus").name == "AMPERE_PLUS"
assert api.strongly_typed() > 0
try:
    print(api.hardware_level("same_compute_capability").name)
except OVError as err:
    print(err.message)
"""


@pytest.mark.parametrize("version", VERSIONS)
def test_our_own_classes_stand_on_them(version: str) -> None:
    said = run_with(version, "-c", RUN, str(bindings(version))).strip()
    oldest = f"TensorRT {version} has no hardware_compatibility = same_compute_capability"
    assert said == (oldest if version == "10.3.0" else "SAME_COMPUTE_CAPABILITY")
