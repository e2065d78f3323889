"""The engines of this machine: `$OV_HOME/engines/<fingerprint>`, each a serialized engine and what it was built with.

A folder appears whole or not at all, and only after its engine has passed the gate. An engine that several kinds of
GPU may load passes it once on each.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ovengines.errors import ExitCode, OVError
from ovengines.home import ov_home
from ovengines.replacement import Replacement, disk_errors
from ovengines.tensorrt.fingerprint import Fingerprint, differences, why_not
from ovengines.tensorrt.stamp import has_sha256, note_sha256

PLAN_FILE, SIDECAR_FILE = "engine.plan", "engine.json"
DISK_HINT = "an engine takes as much as its graph: free some space, or set OV_HOME to another disk"


@dataclass(frozen=True, kw_only=True)
class Sidecar:
    """`engine.json`: what the engine beside it was built with, and how the gate found it."""

    fingerprint: Mapping[str, str]
    sha256: str
    gated: tuple[str, ...]  # devices on which it passed
    details: Mapping[str, Any]  # for people: bundle, recipe, seconds, what the gate measured


@dataclass(frozen=True, kw_only=True)
class StoredEngine:
    folder: Path
    sidecar: Sidecar

    @property
    def plan(self) -> Path:
        return self.folder / PLAN_FILE


def engines_dir() -> Path:
    return ov_home() / "engines"


def engine_folder(fingerprint: Fingerprint) -> Path:
    return engines_dir() / fingerprint.digest


def find_engine(fingerprint: Fingerprint) -> StoredEngine | None:
    """The one that fits and is what it was when it was stored, or None."""
    stored = _read_engine(engine_folder(fingerprint))
    if stored is None or differences(stored.sidecar.fingerprint, fingerprint):
        return None
    return stored if has_sha256(stored.plan, stored.sidecar.sha256) else None


def explain_absence(fingerprint: Fingerprint) -> str:
    """Why no stored engine can be loaded: the one that is nearest, and in what it differs; or that there is none."""
    built_with = [stored.sidecar.fingerprint for stored in stored_engines()]
    same_role = [built for built in built_with if built.get("role") == fingerprint.role]
    if not same_role:
        return f"no {fingerprint.role} engine has been built on this machine"
    # Of another bundle is the farthest: whoever changes bundles is not told of drivers.
    nearest = min(same_role, key=lambda built: _distance(built, fingerprint))
    return why_not(nearest, fingerprint) or f"the file of the {fingerprint.role} engine is damaged"


def stored_engines() -> list[StoredEngine]:
    files = sorted(engines_dir().glob(f"[!.]*/{SIDECAR_FILE}"))  # a name with a dot is a build in progress
    return [stored for file in files if (stored := _read_engine(file.parent))]


def add_gated(stored: StoredEngine, device: str) -> None:
    """The engine has passed the gate on this device, too."""
    sidecar = dataclasses.replace(stored.sidecar, gated=(*stored.sidecar.gated, device))
    partial = stored.folder / f"{SIDECAR_FILE}.{os.getpid()}.tmp"
    try:
        partial.write_text(_as_json(sidecar))
        partial.replace(stored.folder / SIDECAR_FILE)
    except OSError:  # a read-only home costs the gate each time, nothing else
        partial.unlink(missing_ok=True)


def remove_superseded(fingerprint: Fingerprint) -> Iterator[str]:
    """Remove engines of the same role, bundle and devices that were built with something else, and tell of each."""
    new = _read_engine(engine_folder(fingerprint))
    for old in stored_engines() if new else []:
        if new and old.folder != new.folder and _is_superseded(old.sidecar, new.sidecar):
            shutil.rmtree(old.folder, ignore_errors=True)
            yield f"removed the one before: {why_not(old.sidecar.fingerprint, fingerprint)}"


class NewEngine(Replacement):
    """Use as a context manager: `write` the engine, then `seal` and `publish` it; without that nothing stays."""

    def __init__(self, fingerprint: Fingerprint) -> None:
        super().__init__(engine_folder(fingerprint), hint=DISK_HINT)
        self._fingerprint = fingerprint
        self._sha256 = ""

    @property
    def plan(self) -> Path:
        return self.folder / PLAN_FILE

    def write(self, serialized: Any) -> None:
        """Something with the buffer protocol."""
        self._sha256 = hashlib.sha256(serialized).hexdigest()
        with disk_errors(self.folder, self.hint):
            self.plan.write_bytes(serialized)

    def seal(self, device: str, details: Mapping[str, Any]) -> None:
        """Write the sidecar: from now on the folder is an engine that has passed the gate on this device."""
        fields = dataclasses.asdict(self._fingerprint)
        sidecar = Sidecar(fingerprint=fields, sha256=self._sha256, gated=(device,), details=details)
        with disk_errors(self.folder, self.hint):
            (self.folder / SIDECAR_FILE).write_text(_as_json(sidecar))
        note_sha256(self.plan, self._sha256)


def cannot_load(reason: str, command: str) -> OVError:
    return OVError(ExitCode.BUNDLE_INVALID, reason, f"build it with: {command}")


def _read_engine(folder: Path) -> StoredEngine | None:
    """None for what is not there or is none of ours."""
    try:
        raw = json.loads((folder / SIDECAR_FILE).read_text())
        sidecar = Sidecar(
            fingerprint={str(name): str(value) for name, value in raw["fingerprint"].items()},
            sha256=str(raw["sha256"]),
            gated=tuple(map(str, raw["gated"])),
            details=dict(raw["details"]),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return StoredEngine(folder=folder, sidecar=sidecar)


def _as_json(sidecar: Sidecar) -> str:
    return json.dumps(dataclasses.asdict(sidecar), indent=1, ensure_ascii=False) + "\n"


def _is_superseded(old: Sidecar, new: Sidecar) -> bool:
    """A bundle is the same by its graph, or by its folder, where it was built again."""
    is_same_graph = old.fingerprint.get("graph") == new.fingerprint["graph"]
    is_same_bundle = is_same_graph or old.details.get("bundle") == new.details["bundle"]
    is_same_role = old.fingerprint.get("role") == new.fingerprint["role"]
    return is_same_role and is_same_bundle and set(old.gated) <= set(new.gated)


def _distance(built: Mapping[str, str], wanted: Fingerprint) -> tuple[bool, int]:
    changed = {name for name, _, _ in differences(built, wanted)}
    return "graph" in changed, len(changed)
