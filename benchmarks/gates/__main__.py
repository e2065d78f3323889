"""`make bench-gates`: every figure that an issue asks for, measured on this machine, with its bound.

Times are medians of ratios of interleaved runs (ours, theirs, ours, theirs, ...): single times on a shared machine
mean nothing. Exits with 1 when a gate is missed or could not be measured. Results go to gates.json in the folder.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.gates.gate import Gate
from benchmarks.gates.table import GATES
from benchmarks.machine import describe, versions
from benchmarks.setting import NotInstalled, Setting
from benchmarks.worker import WorkerFailed

HEAD = "| what | against | bound | measured (quartiles) | | |\n|---|---|---|---|---|---|"


def main(argv: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    if unknown := [name for name in args.gates if name not in GATES]:
        sys.exit(f"there is no gate {unknown[0]}; there are {', '.join(GATES)}")
    args.folder.mkdir(parents=True, exist_ok=True)
    setting = Setting(folder=args.folder, threads=args.threads, rounds=args.rounds)
    print(HEAD, flush=True)
    results = {}
    for name in args.gates or GATES:
        results[name] = run(GATES[name], setting)
        write_results(results, setting)
    return 0 if all(result["reached"] for result in results.values()) else 1


def run(gate: Gate, setting: Setting) -> dict[str, Any]:
    """Measure a gate and print its row; a peer that is not there is told, and is no gate reached."""
    try:
        measured = gate.measure(setting)
    except (NotInstalled, WorkerFailed, ValueError) as err:
        reason = str(err).strip().splitlines()[-1]
        print(f"| {gate.what} | {gate.against} | {gate.bound} | not measured | | {reason} |", flush=True)
        return {"what": gate.what, "against": gate.against, "bound": gate.bound, "reached": False, "error": str(err)}
    print(gate.row(measured), flush=True)
    row = {"what": gate.what, "against": gate.against, "bound": gate.bound, "reached": gate.is_reached(measured.value)}
    return {**row, **dataclasses.asdict(measured)}


def write_results(results: dict[str, dict[str, Any]], setting: Setting) -> None:
    """Gates that were not run this time keep what was measured before."""
    file = setting.folder / "gates.json"
    known = json.loads(file.read_text())["gates"] if file.exists() else {}
    raw = {"machine": describe(setting.threads), "versions": versions(), "gates": {**known, **results}}
    file.write_text(json.dumps(raw, indent=1, ensure_ascii=False) + "\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gates", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("gates", nargs="*", metavar="GATE", help=f"default: all of {', '.join(GATES)}")
    parser.add_argument("--folder", type=Path, default=Path("runs/bench"), help="for weights and bundles (16 GB)")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    return parser


if __name__ == "__main__":
    sys.exit(main())
