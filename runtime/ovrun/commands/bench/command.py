"""`ovrun bench`: a table of what each stage of an answer takes here, in about a minute."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ovengines.errors import ExitCode, OVError
from ovrun.commands.flags import open_session
from ovrun.terminal import Terminal

if TYPE_CHECKING:
    from ovrun.commands.bench.stages import Stage

SUMMARY = "time each stage of an answer with a bundle on this machine"
USAGE = "ovrun bench [-m BUNDLE] [--device NAME] [--threads N] [--seconds S] [--json]"
SECONDS = 60.0
MOST_STAGES = 8


def arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("-m", "--model", metavar="BUNDLE", help="folder, or name in $OV_HOME/bundles (or newest)")
    add("--device", default="auto", metavar="NAME", help="auto, cpu, cuda or tensorrt (default: auto)")
    add("--threads", type=int, metavar="N", help="CPU threads (default: all cores)")
    add("--seconds", type=float, default=SECONDS, metavar="S", help="about so long in all (default: 60)")
    add("--json", action="store_true", help="print one JSON object")
    add("-q", "--quiet", action="store_true", help="no progress, no warnings")
    add("-v", "--verbose", action="count", default=0, help="say what is being done; twice for more")
    add("--debug", action="store_true", help="show the traceback of an error")
    parser.set_defaults(feature_cache=None)  # nothing is to be remembered


def run(args: argparse.Namespace, terminal: Terminal) -> None:
    """Raises OVError as any question does."""
    from ovrun.commands.bench.stages import measure
    from ovrun.result import peak_memory_mb, versions
    from ovrun.stopwatch import Stopwatch

    if not args.seconds > 0:
        raise OVError(ExitCode.USAGE, f"--seconds is {args.seconds}", "give a number above 0")
    clock, stages = Stopwatch(), []
    with clock.stage("load"):
        session = open_session(args, terminal)
        session.engine.load("vision", "projector", "decoder")
    with session:
        for number, stage in enumerate(measure(session, args.seconds)):
            stages.append(stage)
            terminal.progress(f"{stage.name} timed", number + 1, MOST_STAGES)
        manifest = session.bundle.manifest
        told = {
            "model": manifest.source,
            "precision": manifest.precision,
            "engine": session.engine.name,
            "threads": args.threads or physical_cores(),
            "load_ms": round(clock["load"], 1),
            "memory_mb": peak_memory_mb(),
            "stages": [as_json(stage) for stage in stages],
            "versions": versions(),
        }
    print(json.dumps(told, ensure_ascii=False) if args.json else as_text(told, stages), flush=True)


def physical_cores() -> int:
    """How many threads ONNX Runtime takes where it is not told; two that share a core count once, as for it."""
    siblings = Path("/sys/devices/system/cpu").glob("cpu[0-9]*/topology/thread_siblings_list")
    return len({file.read_text() for file in siblings}) or os.cpu_count() or 1


def as_json(stage: Stage) -> dict[str, Any]:
    return {
        name: round(value, 3) if isinstance(value, float) else value
        for name, value in {**dataclasses.asdict(stage), "units_per_s": stage.units_per_s}.items()
    }


def as_text(told: dict[str, Any], stages: Sequence[Stage]) -> str:
    """One line a stage: median, extremes, and how many units a second that is."""
    head = ("stage", "of", "ms", "fastest", "slowest", "a second")
    rows: list[tuple[str, ...]] = [head, ("load", "all graphs", _number(told["load_ms"]), "", "", "")]
    for stage in stages:
        per_run = 1 if stage.name != "decode" else stage.units
        times = (_number(ms / per_run) for ms in (stage.ms, stage.low_ms, stage.high_ms))
        rate = f"{_number(stage.units_per_s)} {stage.unit}s"
        rows.append((stage.name, stage.work if per_run == 1 else f"a token {stage.work}", *times, rate))
    if told["memory_mb"] is not None:
        rows.append(("memory", "resident peak", f"{told['memory_mb']:,.0f} MB", "", "", ""))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(_aligned(row, widths)).rstrip() for row in rows]
    heading = f"{told['model']}, {told['precision']}, {told['engine']}, {told['threads']} threads"
    return "\n".join([heading, "", *lines])


def _aligned(row: Sequence[str], widths: Sequence[int]) -> list[str]:
    """Words to the left, numbers to the right."""
    return [
        f"{cell:<{w}}" if column < 2 else f"{cell:>{w}}"
        for column, (cell, w) in enumerate(zip(row, widths, strict=True))
    ]


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
