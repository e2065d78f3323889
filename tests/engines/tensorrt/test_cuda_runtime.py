"""The CUDA runtime by ctypes: every call over one on the host; symbols and versions over the real one, if any."""

from __future__ import annotations

import ctypes
import gc
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from ovengines.cuda import library
from ovengines.cuda.calls import FUNCTIONS, CudaRuntime
from ovengines.cuda.device import CudaDevice
from ovengines.cuda.info import driver_version
from ovengines.errors import ExitCode, OVError

SOURCE = Path(__file__).with_name("host_cudart.c")
COMPILER = shutil.which("cc")
pytestmark = pytest.mark.skipif(COMPILER is None, reason="no C compiler")


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("cudart") / "libcudart.so.13"
    subprocess.run([str(COMPILER), "-shared", "-fPIC", "-Wall", "-Werror", "-o", file, SOURCE], check=True)
    return file


@pytest.fixture
def host(compiled: Path, tmp_path: Path) -> Iterator[ctypes.CDLL]:
    """A library of the test's own, so that its counters begin at zero."""
    own = tmp_path / "libcudart.so.13"
    shutil.copy(compiled, own)
    loaded = ctypes.CDLL(str(own))
    yield loaded
    gc.collect()
    for name in ("live_memories", "live_pinned", "live_streams", "live_graphs", "live_executables"):
        assert ctypes.c_int.in_dll(loaded, name).value == 0, name


def test_what_the_device_is(host: ctypes.CDLL) -> None:
    info = CudaDevice(CudaRuntime(host)).info
    assert (info.name, info.sm, info.memory_bytes) == ("Host GPU", "sm_87", 7 << 30)


def test_copies_are_made_in_order_once_waited_for(host: ctypes.CDLL) -> None:
    device = CudaDevice(CudaRuntime(host))
    memory = device.allocate(4 * 24)
    source, target = device.pinned((24,), np.float32), device.pinned((24,), np.float32)
    assert memory.address % 256 == 0 and not source.any()
    source[:] = np.arange(24)
    device.upload(memory.address, source)
    device.clear(memory.address, 8)
    device.download(target, memory.address)
    assert not target.any(), "nothing is done before"
    device.synchronize()
    assert target.tolist() == [0, 0, *range(2, 24)]


def test_rows(host: ctypes.CDLL) -> None:
    """Grids of 4 x 6 values: columns of one uploaded, copied to other columns of another, some cleared."""
    device = CudaDevice(CudaRuntime(host))
    one, other = device.allocate(4 * 24), device.allocate(4 * 24)
    grid_RC, result_RC = np.arange(24, dtype=np.float32).reshape(4, 6), np.full((4, 6), -1, np.float32)
    device.upload_rows(one.address + 4, 24, grid_RC[:, 2:5])
    device.copy_rows(other.address + 8, 24, one.address + 4, 24, 12, 4)
    device.clear_rows(other.address + 12, 24, 4, 2)
    device.clear_rows(other.address, 24, 0, 4)
    device.copy_rows(other.address, 24, one.address, 24, 4, 0)
    device.download(result_RC, other.address)
    device.synchronize()
    expected_RC = np.zeros((4, 6), np.float32)
    expected_RC[:, 2:5] = grid_RC[:, 2:5]
    expected_RC[:2, 3] = 0
    np.testing.assert_array_equal(result_RC, expected_RC)


def test_a_captured_graph_runs_when_launched_and_not_before(host: ctypes.CDLL) -> None:
    device = CudaDevice(CudaRuntime(host))
    memory, source, target = device.allocate(16), device.pinned((4,), np.int32), device.pinned((4,), np.int32)
    graph = device.capture(lambda: device.upload(memory.address, source))
    for value in (7, 8):
        source[:] = value
        device.download(target, memory.address)
        device.synchronize()
        assert target[0] == 0
        graph.launch()
        device.clear_rows(memory.address + 4, 12, 12, 1)
        device.download(target, memory.address)
        device.synchronize()
        assert target.tolist() == [value, 0, 0, 0]
        device.clear(memory.address, 16)


def test_a_capture_that_fails_ends(host: ctypes.CDLL) -> None:
    device = CudaDevice(CudaRuntime(host))

    def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        device.capture(fail)
    device.synchronize()
    device.capture(lambda: None).launch()


def test_pinned_arrays_live_as_long_as_their_views(host: ctypes.CDLL) -> None:
    device = CudaDevice(CudaRuntime(host))
    view = device.pinned((3, 4), np.float32)[1:, :2]
    live = ctypes.c_int.in_dll(host, "live_pinned")
    gc.collect()
    assert live.value == 1
    view[...] = 3
    del view
    gc.collect()
    assert live.value == 0
    assert device.pinned((0, 5), np.int64).shape == (0, 5)


def test_errors_are_told(host: ctypes.CDLL) -> None:
    runtime = CudaRuntime(host)
    device = CudaDevice(runtime)
    for call, code, told in (
        (lambda: device.allocate(2 << 30), ExitCode.OUT_OF_MEMORY, "out of memory"),
        (
            lambda: device.copy_rows(8, 4, 8, 4, 5, 1),
            ExitCode.UNEXPECTED,
            "2DAsync failed: invalid argument (1)",
        ),
    ):
        with pytest.raises(OVError) as caught:
            call()
        assert caught.value.code == code and told in caught.value.message and caught.value.hint
    for status in (35, 100):
        ctypes.c_int.in_dll(host, "device_count_status").value = status
        with pytest.raises(OVError, match="CUDA can't be used") as caught:
            CudaDevice(runtime)
        assert caught.value.code == ExitCode.MISSING_DEPENDENCY


def test_the_newest_runtime_that_the_driver_serves_is_taken(
    compiled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = []
    for version, soname in ((13000, "libcudart.so.13"), (12060, "libcudart.so.12")):
        shutil.copy(compiled, tmp_path / soname)
        loaded = ctypes.CDLL(str(tmp_path / soname))
        ctypes.c_int.in_dll(loaded, "runtime_version").value = version
        ctypes.c_int.in_dll(loaded, "driver_version").value = 12080
        names.append(str(tmp_path / soname))
    monkeypatch.setattr(library, "_candidates", lambda: iter(["libcudart.so.nowhere", *names]))
    library.cuda_runtime.cache_clear()
    assert library.cuda_runtime().integer("cudaRuntimeGetVersion") == 12060
    library.cuda_runtime.cache_clear()
    monkeypatch.setattr(library, "_candidates", lambda: iter(names[:1]))
    assert library.cuda_runtime().integer("cudaRuntimeGetVersion") == 13000, "to say what is wrong with the driver"
    library.cuda_runtime.cache_clear()
    monkeypatch.setattr(library, "_candidates", lambda: iter([]))
    with pytest.raises(OVError, match="not installed") as caught:
        library.cuda_runtime()
    assert caught.value.code == ExitCode.MISSING_DEPENDENCY and "pip install" in caught.value.hint


def test_where_it_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pip, toolkit = tmp_path / "site" / "nvidia" / "cu13" / "lib", tmp_path / "cuda" / "lib64"
    for folder in (pip, toolkit):
        folder.mkdir(parents=True)
        (folder / "libcudart.so.12").write_bytes(b"")
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.setenv("CUDA_HOME", str(tmp_path / "cuda"))
    found = list(library._candidates())
    assert found[0] == "libcudart.so.13" and {str(pip / "libcudart.so.12"), str(toolkit / "libcudart.so.12")} <= {
        *found
    }


def test_the_driver_says_which_it_is_where_it_can(host: ctypes.CDLL, tmp_path: Path) -> None:
    runtime, file = CudaRuntime(host), tmp_path / "version"
    lines = {
        "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build": "580.65.06",
        "NVRM version: NVIDIA UNIX Open Kernel Module for aarch64  540.4.0  Release Build": "540.4.0",
        "NVRM version: unknown": "CUDA 13.0",
        "": "CUDA 13.0",
    }
    for line, version in lines.items():
        file.write_text(line + "\nGCC version: gcc 13.2.0\n")
        assert driver_version(runtime, file) == version
    assert driver_version(runtime, tmp_path / "nowhere") == "CUDA 13.0"


def test_the_real_runtime_has_every_function() -> None:
    """On a machine without a GPU as well; what it says there is an error of ours."""
    loaded = list(library._usable(library._candidates()))
    if not loaded:
        pytest.skip("no libcudart here")
    for runtime in loaded:
        assert runtime.integer("cudaRuntimeGetVersion") >= 11040
        if runtime.integer("cudaDriverGetVersion") == 0:
            with pytest.raises(OVError) as caught:
                CudaDevice(runtime)
            assert caught.value.code == ExitCode.MISSING_DEPENDENCY


def test_the_host_runtime_has_no_function_that_is_not_called(compiled: Path) -> None:
    text = SOURCE.read_text()
    assert all(f"{name}(" in text or f"{name}_v2(" in text for name in FUNCTIONS)
