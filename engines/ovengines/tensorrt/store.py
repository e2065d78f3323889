"""The engines of this machine: `$OV_HOME/engines/<fingerprint>`, each a serialized engine and what it was built with.

A folder appears whole or not at all, and only after its engine has passed the gate.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ovengines.errors import ExitCode, OVError
from ovengines.home import ov_home
from ovengines.replacement import Replacement, disk_errors
from ovengines.tensorrt.fingerprint import Fingerprint, differences, why_not

PLAN_FILE, SIDECAR_FILE = "engine.plan", "engine.json"
DISK_HINT = "an engine takes as much as its graph: free some space, or set OV_HOME to another disk"


@dataclass(frozen=True, kw_only=True)
class Sidecar:
    """`engine.json`: what the engine beside it was built with, and how the gate found it."""

    fingerprint: Mapping[str, str]
    size_bytes: int
    details: Mapping[str, Any]  # for people: bundle, recipe, seconds, what the gate measured


def engines_dir() -> Path:
    return ov_home() / "engines"


def engine_folder(fingerprint: Fingerprint) -> Path:
    return engines_dir() / fingerprint.digest


def find_plan(fingerprint: Fingerprint) -> Path | None:
    """The serialized engine that fits, or None."""
    folder = engine_folder(fingerprint)
    sidecar = read_sidecar(folder)
    if sidecar is None or differences(sidecar.fingerprint, fingerprint):
        return None
    plan = folder / PLAN_FILE
    return plan if plan.is_file() and plan.stat().st_size == sidecar.size_bytes else None


def explain_absence(fingerprint: Fingerprint) -> str:
    """Why no stored engine can be loaded: the one that is nearest, and in what it differs; or that there is none."""
    same_role = [one.fingerprint for one in stored_engines() if one.fingerprint.get("role") == fingerprint.role]
    if not same_role:
        return f"no {fingerprint.role} engine has been built on this machine"
    # Of another bundle is the farthest: whoever changes bundles is not told of drivers.
    nearest = min(same_role, key=lambda built: _distance(built, fingerprint))
    return why_not(nearest, fingerprint) or f"the file of the {fingerprint.role} engine is damaged"


def stored_engines() -> list[Sidecar]:
    files = sorted(engines_dir().glob(f"[!.]*/{SIDECAR_FILE}"))  # a name with a dot is a build in progress
    return [sidecar for file in files if (sidecar := read_sidecar(file.parent))]


def read_sidecar(folder: Path) -> Sidecar | None:
    """None for what is not there or is none of ours."""
    try:
        raw = json.loads((folder / SIDECAR_FILE).read_text())
        fields = {str(name): str(value) for name, value in raw["fingerprint"].items()}
        return Sidecar(fingerprint=fields, size_bytes=int(raw["size_bytes"]), details=dict(raw["details"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


class NewEngine(Replacement):
    """Use as a context manager: `write` the engine, then `seal` and `publish` it; without that nothing stays."""

    def __init__(self, fingerprint: Fingerprint) -> None:
        super().__init__(engine_folder(fingerprint), hint=DISK_HINT)
        self._fingerprint = fingerprint

    @property
    def plan(self) -> Path:
        return self.folder / PLAN_FILE

    def write(self, serialized: Any) -> None:
        """Something with the buffer protocol."""
        with disk_errors(self.folder, self.hint):
            self.plan.write_bytes(serialized)

    def seal(self, details: Mapping[str, Any]) -> None:
        """Write the sidecar: from now on the folder is an engine."""
        sidecar = Sidecar(
            fingerprint=dataclasses.asdict(self._fingerprint),
            size_bytes=self.plan.stat().st_size,
            details=details,
        )
        text = json.dumps(dataclasses.asdict(sidecar), indent=1, ensure_ascii=False) + "\n"
        with disk_errors(self.folder, self.hint):
            (self.folder / SIDECAR_FILE).write_text(text)


def cannot_load(reason: str, command: str) -> OVError:
    return OVError(ExitCode.BUNDLE_INVALID, reason, f"build it with: {command}")


def _distance(built: Mapping[str, str], wanted: Fingerprint) -> tuple[bool, int]:
    changed = {name for name, _, _ in differences(built, wanted)}
    return "graph" in changed, len(changed)
