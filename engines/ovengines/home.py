"""Where bundles, engines and caches live on this machine, and which bundle is meant when none is named."""

from __future__ import annotations

import os
from pathlib import Path

from ovengines.errors import ExitCode, OVError


def ov_home() -> Path:
    """`$OV_HOME`, else `$XDG_CACHE_HOME/ovexport`, else `~/.cache/ovexport`; not created here."""
    if home := os.environ.get("OV_HOME"):
        return Path(home)
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "ovexport"


def bundles_dir() -> Path:
    return ov_home() / "bundles"


def find_bundle(name: str) -> Path:
    """The folder `name`, or else the bundle of that name under `$OV_HOME/bundles`."""
    stored = bundles_dir() / name
    return stored if not Path(name).exists() and stored.exists() else Path(name)


def newest_bundle() -> Path:
    """The bundle under `$OV_HOME/bundles` whose manifest was written last.

    Raises:
        OVError: BUNDLE_INVALID when there is none.
    """
    built = {
        file.parent: _mtime_ns(file)
        for file in bundles_dir().glob("*/manifest.json")
        if not file.parent.name.startswith(".")  # a build in progress, or one that was killed
    }
    if not built:
        raise OVError(
            ExitCode.BUNDLE_INVALID,
            f"there is no bundle in {bundles_dir()}",
            "build one with: ovexport build   (or name one with -m)",
        )
    return max(built, key=lambda folder: built[folder])


def _mtime_ns(file: Path) -> int:
    try:
        return file.stat().st_mtime_ns
    except OSError:  # it was removed just now
        return 0
