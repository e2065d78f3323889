"""Where a C++ build finds this installation: what `ovrun --cmake-dir`, `--includes` and `--libs` print."""

from __future__ import annotations

import sys
from pathlib import Path

from ovengines.errors import ExitCode, OVError


def cmake_dir() -> str:
    """For find_package: -Dovrun_DIR=..."""
    return str(_folder() / "cmake")


def includes() -> str:
    """For a compiler."""
    return f"-I{_folder() / 'include'}"


def libs() -> str:
    """For a linker; the program then finds the library where it is."""
    folder = _folder() / "lib"
    return f"-L{folder} -Wl,-rpath,{folder} -lovrun"


def _folder() -> Path:
    """include/, lib/ and cmake/ beside each other: in the package where it is installed, else in the checkout.

    Raises OVError (MISSING_DEPENDENCY) for an installation without the library.
    """
    package = Path(__file__).parent
    found = package / "cpp" if (package / "cpp").is_dir() else package.parent / "cpp"
    tag = f"cpython-{sys.version_info.major}{sys.version_info.minor}"
    if not list(found.glob("lib/libovrun.*")) or not list(found.glob(f"lib/ovrun_bridge.{tag}*")):
        raise OVError(
            ExitCode.MISSING_DEPENDENCY,
            "this installation of ovrun has no C++ library: it was made without a compiler, or for another Python",
            "install one (apt install g++ python3-dev), then: pip install --force-reinstall --no-deps ovexport",
        )
    return found
