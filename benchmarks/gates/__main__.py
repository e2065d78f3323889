"""`make bench-gates`: every figure that an issue asks for, measured on this machine, with its bound.

    python -m benchmarks.gates                  measure all of them (about 30 minutes)
    python -m benchmarks.gates decode lookup    measure these; the others stay as they were
    python -m benchmarks.gates --table          print what was measured so far, and measure nothing

Times are medians of ratios of interleaved runs (ours, theirs, ours, theirs, ...): single times on a shared machine
mean nothing. Exits with 1 when a gate is missed or could not be measured. Results go to gates.json in the folder.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.gates import results
from benchmarks.gates.gate import Gate
from benchmarks.gates.table import GATES
from benchmarks.setting import Setting
from benchmarks.speed import last_line
from ovengines.devices import DEVICES


def main(argv: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    if unknown := [name for name in args.gates if name not in GATES]:
        sys.exit(f"there is no gate {unknown[0]}; there are {', '.join(GATES)}")
    if args.table:
        print(results.as_markdown(args.folder, args.gates or list(GATES), GATES))
        return 0
    args.folder.mkdir(parents=True, exist_ok=True)
    setting = Setting(folder=args.folder, threads=args.threads, rounds=args.rounds)
    print(results.HEAD, flush=True)
    found = []
    for name in args.gates or measurable(GATES):
        entry = run(GATES[name], setting.on(GATES[name].device))
        results.write(args.folder, name, entry)
        print(results.row(entry), flush=True)
        found.append(entry)
    return 0 if all(entry["reached"] for entry in found) else 1


def measurable(gates: Mapping[str, Gate]) -> list[str]:
    """Without those of a GPU where there is none; asked for by name, they say so."""
    return [name for name, gate in gates.items() if DEVICES[gate.device].missing() is None]


def run(gate: Gate, setting: Setting) -> dict[str, Any]:
    """Measure a gate. Whatever goes wrong is no gate reached, and does not keep the others from being measured."""
    try:
        measured = gate.measure(setting)
    except Exception as err:
        return results.entry(gate, setting, error=last_line(err))
    return results.entry(gate, setting, measured)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gates", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("gates", nargs="*", metavar="GATE", help=f"default: all of {', '.join(GATES)}")
    parser.add_argument("--folder", type=Path, default=Path("runs/bench"), help="for weights and bundles (16 GB)")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--table", action="store_true", help="print all of gates.json as Markdown, and measure nothing")
    return parser


if __name__ == "__main__":
    sys.exit(main())
