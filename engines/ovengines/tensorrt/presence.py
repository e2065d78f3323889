"""What TensorRT needs on this machine, and what is told where a piece is missing. Imports none of it."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

from ovengines.errors import ExitCode, OVError

PLUGIN_VARIABLE = "OVK_TENSORRT_PLUGIN"
PLUGIN_PATTERN = "libovk_tensorrt*.so"
JETSON_FILE = Path("/etc/nv_tegra_release")  # only JetPack has it
DATACENTER_HINT = "pip install tensorrt-cu13   (a driver for CUDA 12 only: pip install tensorrt-cu12)"
JETSON_HINT = "it comes with JetPack: sudo apt install python3-libnvinfer   and a venv made with --system-site-packages"
PLUGIN_HINT = f"build it as docs/tensorrt.md says, beside the package ovkernels, or name it with {PLUGIN_VARIABLE}"


def missing() -> str | None:
    """Why TensorRT can't be used here; None where its package is installed."""
    spec = find_spec("tensorrt")
    is_package = spec is not None and spec.origin is not None  # not some folder of that name
    return None if is_package else "TensorRT's Python package is not installed"


def install_hint() -> str:
    return JETSON_HINT if JETSON_FILE.exists() else DATACENTER_HINT


def require_tensorrt() -> None:
    """Raises OVError (MISSING_DEPENDENCY) where `import tensorrt` fails, with what it says."""
    if reason := missing():
        raise OVError(ExitCode.MISSING_DEPENDENCY, reason, install_hint())
    try:
        import tensorrt  # noqa: F401
    except (ImportError, OSError) as err:  # its package is there, the libraries it stands on are not
        message = f"TensorRT can't be loaded: {' '.join(str(err).split())}"
        raise OVError(ExitCode.MISSING_DEPENDENCY, message, install_hint()) from err


def find_plugin(tensorrt_major: int) -> Path:
    """The plugin library of the token pooling: named by the environment, or beside the package ovkernels.

    Its name says which TensorRT it is for ("libovk_tensorrt10_cuda12.so"); those that end in "_registered" are for
    programs that only open them.

    Raises:
        OVError: MISSING_DEPENDENCY.
    """
    if named := os.environ.get(PLUGIN_VARIABLE):
        if Path(named).is_file():
            return Path(named).resolve()
        message = f"{PLUGIN_VARIABLE} names {named}, which is no file"
        raise OVError(ExitCode.MISSING_DEPENDENCY, message, PLUGIN_HINT)
    spec = find_spec("ovkernels")
    folders = [Path(folder) for folder in (spec.submodule_search_locations or [])] if spec else []
    files = [file for folder in folders for file in sorted(folder.rglob(PLUGIN_PATTERN))]
    found = [file for file in files if "registered" not in file.name]
    suited = [file for file in found if file.name.startswith(f"libovk_tensorrt{tensorrt_major}_")]
    if suited:
        return suited[0].resolve()
    message = "the TensorRT plugin of ovkernels is not built"
    if found:
        message = f"the plugin {found[0].name} is not for TensorRT {tensorrt_major}"
    raise OVError(ExitCode.MISSING_DEPENDENCY, message, PLUGIN_HINT)
