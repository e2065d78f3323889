"""How fast this is here against what you would otherwise use, and how near to what the machine allows.

    python -m benchmarks                     everything that is installed (about an hour on two cores)
    python -m benchmarks --parts speed --peers "llama.cpp Q4_0"

Runs ours and each peer in turns on the same weights, tokens and threads, after comparing their outputs, and writes
report.json, report.md and plots. Peers are installed by `make bench-peers`; those that are not are told and left out,
and a part that fails is told and does not end the others.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks import curves, pictures, scaled, speed
from benchmarks.agreement import reference_outputs
from benchmarks.floors import Shape
from benchmarks.limits import Limits, apart, best_of
from benchmarks.machine import describe, versions
from benchmarks.peers.table import PEERS
from benchmarks.pictures import WHO
from benchmarks.plots import draw
from benchmarks.report import Report
from benchmarks.setting import Setting
from benchmarks.speed import last_line
from benchmarks.worker import Worker
from ovexport.checkpoint import open_checkpoint

PARTS = ("speed", "pictures", "curves", "scaled")


def main(argv: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    args.folder.mkdir(parents=True, exist_ok=True)
    setting = Setting(
        folder=args.folder,
        threads=args.threads,
        rounds=args.rounds,
        checkpoint=args.checkpoint,
        device=args.device,
    )
    out = args.out or args.folder / "report"
    for report in run(setting, args.parts or PARTS, args.peers or peers_on(args.device)):
        report.write(out)  # each time, so that an hour is not lost to its last minute
    draw(report, out)
    print(report.as_markdown())
    tell(f"written to {out}")
    return 1 if report.failed else 0


def peers_on(device: str) -> list[str]:
    return [name for name, peer in PEERS.items() if device in peer.devices]


def run(setting: Setting, parts: Sequence[str], peers: Sequence[str]) -> Iterator[Report]:
    """The report as it grows. Limits are measured before and after each part."""
    weights = setting.checkpoint.resolve().name if setting.checkpoint else f"random, {setting.shape} shape"
    measured = [measured_limits(setting)]
    report = Report(
        machine=describe(setting.threads, setting.device), versions=versions(), weights=weights, limits=measured[0]
    )
    yield report
    for part in (part for part in PARTS if part in parts):
        try:
            for grown in _PARTS[part](setting, peers, report):
                report = grown
                yield report
        except Exception as err:
            tell(f"{part} failed: {last_line(err)}")
            report = replace(report, failed=[*report.failed, f"{part}: {last_line(err)}"])
        measured.append(measured_limits(setting))
        report = replace(report, limits=best_of(measured), limits_apart=apart(measured))
        yield report


def _speed(setting: Setting, peers: Sequence[str], report: Report) -> Iterator[Report]:
    tell("reference")
    reference, shape = reference_outputs(setting), shape_of(setting)
    for rows, told in speed.against_all(setting, peers, reference, shape, tell):
        report = replace(report, rows=[*report.rows, *rows], told=[*report.told, *told])
        yield report


def _pictures(setting: Setting, _: Sequence[str], report: Report) -> Iterator[Report]:
    yield replace(report, answers=pictures.answers(setting, few(setting), shape_of(setting), tell))


def _curves(setting: Setting, _: Sequence[str], report: Report) -> Iterator[Report]:
    for curve in curves.measure(setting, WHO[setting.device][0], few(setting), tell):
        report = replace(report, curves=[*report.curves, curve])
        yield report


def _scaled(setting: Setting, _: Sequence[str], report: Report) -> Iterator[Report]:
    tell("the 7B shape")
    yield replace(report, scaled=scaled.measure(setting, WHO[setting.device][0]))


_PARTS = {"speed": _speed, "pictures": _pictures, "curves": _curves, "scaled": _scaled}


def few(setting: Setting) -> int:
    """Rounds of what takes long."""
    return max(3, setting.rounds // 2)


def measured_limits(setting: Setting) -> Limits:
    """In a fresh process."""
    tell("limits of the machine")
    with Worker(threads=setting.threads) as worker:
        return Limits(**worker.run("benchmarks.limits", "measure", threads=setting.threads, device=setting.device))


def shape_of(setting: Setting) -> Shape:
    with open_checkpoint(setting.weights()) as checkpoint:
        return Shape(tower=checkpoint.config.vision, language=checkpoint.config.language)


def tell(what: str) -> None:
    print(f"... {what}", file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--parts", nargs="+", choices=PARTS, help="default: all")
    add("--peers", nargs="+", choices=PEERS, metavar="PEER", help=f"default: all of {', '.join(PEERS)}")
    add("--checkpoint", type=Path, help="a real one; default: random weights of the 0.5B shape, made on the spot")
    add("--folder", type=Path, default=Path("runs/bench"), help="for weights and bundles (16 GB)")
    add("--out", type=Path, help="default: report/ in that folder")
    add("--rounds", type=int, default=7)
    add("--threads", type=int, default=os.cpu_count(), help="of every contestant, each on so many cores")
    add("--device", choices=("cpu", "cuda"), default="cpu", help="of those that can choose; the others are left out")
    return parser


if __name__ == "__main__":
    sys.exit(main())
