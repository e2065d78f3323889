"""gates.json: each gate with what was measured and on what, since gates are measured one by one and days apart."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.gates.gate import Gate, Measured
from benchmarks.machine import describe, versions
from benchmarks.setting import Setting

FILE = "gates.json"
COLUMNS = ("what", "against", "bound", "measured (quartiles)", "", "rounds", "")
HEAD = f"| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|"


def entry(gate: Gate, setting: Setting, measured: Measured | None = None, error: str = "") -> dict[str, Any]:
    """What is kept of a gate; `error` where it could not be measured."""
    said = {"what": gate.what, "against": gate.against, "bound": gate.bound}
    found: dict[str, Any] = {"reached": False, "error": error}
    if measured is not None:
        found = {"reached": gate.is_reached(measured.value), "measured": str(measured), **dataclasses.asdict(measured)}
    date = time.strftime("%Y-%m-%d %H:%M", time.gmtime())
    own = versions()
    where = {"date": date, "commit": own.pop("commit"), "machine": describe(setting.threads, setting.device)}
    return {**said, **found, **where, "measured_by": own}


def write(folder: Path, name: str, found: dict[str, Any]) -> None:
    """Gates that were not run this time keep what was measured before, and on what."""
    gates = {**read(folder), name: found}
    (folder / FILE).write_text(json.dumps({"gates": gates}, indent=1, ensure_ascii=False) + "\n")


def read(folder: Path) -> dict[str, dict[str, Any]]:
    """By name; without those of a time when gates did not say on what they were measured."""
    if not (folder / FILE).exists():
        return {}
    gates: dict[str, dict[str, Any]] = json.loads((folder / FILE).read_text())["gates"]
    return {name: found for name, found in gates.items() if "machine" in found}


def as_markdown(folder: Path, names: Sequence[str], gates: Mapping[str, Gate]) -> str:
    """The whole table, then on what its rows were measured."""
    known = read(folder)
    rows = [row(known[name]) if name in known else _unmeasured(gates[name]) for name in names]
    provenance: dict[str, list[str]] = {}
    for name in names:
        if name in known:
            provenance.setdefault(_provenance(known[name]), []).append(name)
    lines = [f"- {', '.join(of)}: {where}" for where, of in provenance.items()]
    return "\n".join([HEAD, *rows, "", *lines])


def row(found: Mapping[str, Any]) -> str:
    if "value" not in found:
        cells = ("not measured", "", "", found["error"])
    else:
        mark = "reached" if found["reached"] else "**missed**"
        cells = (found["measured"], mark, str(found["rounds"]), found["detail"])
    return f"| {' | '.join((found['what'], found['against'], found['bound'], *cells))} |"


def _unmeasured(gate: Gate) -> str:
    return f"| {gate.what} | {gate.against} | {gate.bound} | not measured | | | never run here |"


def _provenance(found: Mapping[str, Any]) -> str:
    """Both sides where the gate told them, else the environment that measured."""
    machine = found["machine"]
    sides = found.get("versions") or {"measured by": found["measured_by"]}
    libraries = "; ".join(f"{name}: {_listed(side)}" for name, side in sides.items())
    where = f"{machine['processor']}, {machine['device']}, {machine['threads']} threads, {machine['system']}"
    return f"{where}; commit {found['commit']}, {found['date'][:10]}; {libraries}"


def _listed(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {number}" for name, number in versions.items())
