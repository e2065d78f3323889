"""How fast this is here against what you would otherwise use, and how near to what the machine allows.

    python -m benchmarks                     everything that is installed (about an hour on two cores)
    python -m benchmarks --parts speed --peers "llama.cpp Q4_0"

Runs ours and each peer in turns on the same weights, tokens and threads, after comparing their outputs, and writes
report.json, report.md and plots. Peers are installed by `make bench-peers`; those that are not are told and left out.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from benchmarks import curves, limits, pictures, scaled, speed
from benchmarks.floors import floor_ms
from benchmarks.machine import describe, versions
from benchmarks.peers.table import PEERS
from benchmarks.plots import draw
from benchmarks.report import Report
from benchmarks.setting import Setting
from benchmarks.worker import Worker
from ovexport.checkpoint import open_checkpoint

PARTS = ("speed", "pictures", "curves", "scaled")


def main(argv: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    args.folder.mkdir(parents=True, exist_ok=True)
    setting = Setting(folder=args.folder, threads=args.threads, rounds=args.rounds, checkpoint=args.checkpoint)
    out = args.out or args.folder / "report"
    for report in run(setting, args.parts or PARTS, args.peers or list(PEERS)):
        report.write(out)  # each time, so that an hour is not lost to its last minute
    draw(report, out)
    print(report.as_markdown())
    tell(f"written to {out}")
    return 0


def run(setting: Setting, parts: Sequence[str], peers: Sequence[str]) -> Iterator[Report]:
    """The report as it grows."""
    weights = str(setting.checkpoint) if setting.checkpoint else f"random, {setting.shape} shape"
    report = Report(
        machine=describe(setting.threads),
        versions=versions(),
        weights=weights,
        limits=measured_limits(setting.threads),
    )
    yield report
    for part in (part for part in PARTS if part in parts):
        for grown in _PARTS[part](setting, peers, report):
            report = grown
            yield report


def _speed(setting: Setting, peers: Sequence[str], report: Report) -> Iterator[Report]:
    tell("reference")
    reference = speed.reference_outputs(setting)
    report = replace(report, told=speed.our_agreements(setting, reference))
    for rows, told in speed.against_all(setting, peers, reference, floor(setting, report.limits), tell):
        report = replace(report, rows=[*report.rows, *rows], told=[*report.told, told])
        yield report


def _pictures(setting: Setting, _: Sequence[str], report: Report) -> Iterator[Report]:
    yield replace(report, answers=pictures.answers(setting, max(3, setting.rounds // 2), tell))


def _curves(setting: Setting, _: Sequence[str], report: Report) -> Iterator[Report]:
    for curve in curves.measure(setting, "ours int4", max(1, setting.rounds // 5), tell):
        report = replace(report, curves=[*report.curves, curve])
        yield report


def _scaled(setting: Setting, _: Sequence[str], report: Report) -> Iterator[Report]:
    tell("the 7B shape")
    yield replace(report, scaled=scaled.measure(setting))


_PARTS = {"speed": _speed, "pictures": _pictures, "curves": _curves, "scaled": _scaled}


def measured_limits(threads: int) -> limits.Limits:
    tell("limits of the machine")
    with Worker(threads=threads) as worker:
        return limits.Limits(**worker.run("benchmarks.limits", "measure", threads=threads))


def floor(setting: Setting, measured: limits.Limits) -> speed.Floor:
    with open_checkpoint(setting.weights()) as checkpoint:
        config = checkpoint.config
    return partial(floor_ms, tower=config.vision, language=config.language, limits=measured)


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
    add("--threads", type=int, default=os.cpu_count())
    return parser


if __name__ == "__main__":
    sys.exit(main())
