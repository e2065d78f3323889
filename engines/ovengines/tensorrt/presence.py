"""What TensorRT needs on this machine, and what is told where a piece is missing. Imports none of it."""

from __future__ import annotations

import os
import re
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from ovengines.errors import ExitCode, OVError

PLUGIN_VARIABLE = "OVK_TENSORRT_PLUGIN"
PLUGIN_PATTERN = "libovk_tensorrt*.so"
JETSON_FILE = Path("/etc/nv_tegra_release")  # only JetPack has it
DATACENTER_HINT = "pip install tensorrt-cu13   (a driver for CUDA 12 only: pip install tensorrt-cu12)"
JETSON_HINT = "it comes with JetPack: sudo apt install python3-libnvinfer   and a venv made with --system-site-packages"
PLUGIN_HINT = f"build it as docs/tensorrt.md says, and name it with {PLUGIN_VARIABLE}"
_PLUGIN_NAME = re.compile(r"libovk_tensorrt(\d+)_cuda(\d+)")  # for which TensorRT and which CUDA


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


def find_plugin(tensorrt_major: int, cuda_major: int) -> Path:
    """The plugin library of the token pooling: the one that the environment names, or one in the package ovkernels.

    It has to be for this TensorRT, and for a CUDA up to `cuda_major`, the newest that the driver serves; of several
    the one of the CUDA that TensorRT's own package is for, else the newest. Those that end in "_registered" are for
    programs that only open them.

    Raises:
        OVError: MISSING_DEPENDENCY.
    """
    named = os.environ.get(PLUGIN_VARIABLE)
    found = [Path(named)] if named else _built_plugins()
    if named and not found[0].is_file():
        message = f"{PLUGIN_VARIABLE} names {named}, which is no file"
        raise OVError(ExitCode.MISSING_DEPENDENCY, message, PLUGIN_HINT)
    reasons = {file: _why_unfit(file.name, tensorrt_major, cuda_major) for file in found}
    if suited := [file for file, reason in reasons.items() if not reason]:
        built_for = tensorrt_cuda_major()
        return max(suited, key=lambda file: (_majors(file.name)[1] == built_for, _majors(file.name)[1])).resolve()
    message = next(iter(reasons.values()), "the TensorRT plugin of ovkernels is not built")
    raise OVError(ExitCode.MISSING_DEPENDENCY, message, PLUGIN_HINT)


def tensorrt_cuda_major() -> int | None:
    """The CUDA that the TensorRT of the package index is for; None for a system's own, or where there are two."""
    majors = []
    for major in (12, 13):
        try:
            metadata.version(f"tensorrt-cu{major}")
            majors.append(major)
        except metadata.PackageNotFoundError:
            continue
    return majors[0] if len(majors) == 1 else None


def _built_plugins() -> list[Path]:
    spec = find_spec("ovkernels")
    folders = [Path(folder) for folder in (spec.submodule_search_locations or [])] if spec else []
    files = [file for folder in folders for file in sorted(folder.rglob(PLUGIN_PATTERN))]
    return [file for file in files if "registered" not in file.name]


def _why_unfit(name: str, tensorrt_major: int, cuda_major: int) -> str:
    """Empty for one that fits, and for one whose name does not say."""
    tensorrt, cuda = _majors(name)
    if tensorrt not in (0, tensorrt_major):
        return f"the plugin {name} is not for TensorRT {tensorrt_major}"
    if cuda > cuda_major:
        return f"the plugin {name} needs a driver for CUDA {cuda}, and this one serves CUDA {cuda_major}"
    return ""


def _majors(name: str) -> tuple[int, int]:
    """(TensorRT, CUDA); (0, 0) for a name of another form."""
    found = _PLUGIN_NAME.match(name)
    return (int(found[1]), int(found[2])) if found else (0, 0)
