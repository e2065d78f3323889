"""What a Jetson says of itself: its module, its JetPack's release of L4T, and the power mode that sets its clocks."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

ROOT = Path("/")
_NVPMODEL = ("nvpmodel", "-q")
_TIMEOUT_S = 5


def jetson_model(root: Path = ROOT) -> str | None:
    """ "NVIDIA Jetson Orin Nano Developer Kit, L4T 36.4.3"; None on any other machine."""
    release = _read(root / "etc/nv_tegra_release")
    if release is None:
        return None
    name = (_read(root / "proc/device-tree/model") or "Jetson").strip("\0 \n")
    found = re.search(r"R(\d+).*?REVISION: ([\d.]+)", release, re.DOTALL)
    return f"{name}, L4T {found[1]}.{found[2]}" if found else name


def power_mode(root: Path = ROOT) -> str | None:
    """ "15W (mode 0)"; a mode below the highest caps clocks, and with them every figure measured."""
    if jetson_model(root) is None:
        return None
    said = _nvpmodel()
    name = re.search(r"NV Power Mode:\s*(\S+)", said)
    number = re.search(r"^\s*(\d+)\s*$", said, re.MULTILINE)
    if not name:
        return "not told (try: sudo nvpmodel -q)"
    return f"{name[1]} (mode {number[1]})" if number else name[1]


def _nvpmodel() -> str:
    try:
        return subprocess.run(_NVPMODEL, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False).stdout
    except (OSError, subprocess.SubprocessError):
        return ""


def _read(file: Path) -> str | None:
    try:
        return file.read_text(errors="replace")
    except OSError:
        return None
