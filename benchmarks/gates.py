"""`make bench-gates`: the figures that the README promises, measured on this machine against transformers.

Times are medians of ratios of interleaved runs (ours, theirs, ours, theirs, ...): single times on a shared machine
mean nothing. Exits with 1 when a gate is missed. Results go to benchmarks/results/gates.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.build_memory import build_peak_ratio
from benchmarks.bundles import build
from benchmarks.picture import write_picture
from benchmarks.shapes import random_checkpoint
from benchmarks.worker import Worker

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True, kw_only=True)
class Gate:
    """One promise: `ratio` is to be at least (or at most) `bound`."""

    name: str
    ratio: float
    bound: float
    at_least: bool
    detail: str

    @property
    def reached(self) -> bool:
        return self.ratio >= self.bound if self.at_least else self.ratio <= self.bound

    def row(self) -> str:
        sign, mark = ("≥", "≤")[not self.at_least], ("missed", "reached")[self.reached]
        return f"| {self.name} | {sign} {self.bound:g} | {self.ratio:.2f} | {mark} | {self.detail} |"


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Where checkpoints and bundles are, and how often a pair of runs is repeated."""

    folder: Path
    threads: int
    rounds: int

    def checkpoint(self) -> Path:
        return random_checkpoint("0.5b", self.folder)

    def bundle(self, precision: str) -> Path:
        return build(self.checkpoint(), self.folder / f"0.5b-{precision}", precision)

    @contextmanager
    def pair(self, precision: str) -> Iterator[tuple[Worker, Worker]]:
        workers = [
            Worker("ours", self.bundle(precision), self.threads),
            Worker("transformers", self.checkpoint(), self.threads),
        ]
        try:
            yield workers[0], workers[1]
        finally:
            for worker in workers:
                worker.close()


def speedup(setting: Setting, precision: str, work: str, size: int) -> tuple[float, str]:
    """Median over rounds of theirs / ours, and both medians as text."""
    with setting.pair(precision) as (ours, theirs):
        ours.ms(work, size)
        theirs.ms(work, size)
        pairs = [(ours.ms(work, size), theirs.ms(work, size)) for _ in range(setting.rounds)]
    ratio = statistics.median(b / a for a, b in pairs)
    mine, other = (statistics.median(column) for column in zip(*pairs, strict=True))
    return ratio, f"{mine:.0f} ms against {other:.0f} ms"


def gate_encode(setting: Setting) -> Gate:
    ratio, detail = speedup(setting, "int4", "encode", 1)
    return Gate(name="encode one tile, times faster", ratio=ratio, bound=1.15, at_least=True, detail=detail)


def gate_encode_fp32(setting: Setting) -> Gate:
    ratio, detail = speedup(setting, "fp32", "encode", 1)
    return Gate(name="the same in fp32", ratio=ratio, bound=1.0, at_least=True, detail=detail)


def gate_prefill(setting: Setting) -> Gate:
    ratio, detail = speedup(setting, "int4", "prefill", 1000)
    name = "prefill 1,000 tokens in int4, times faster"
    return Gate(name=name, ratio=ratio, bound=1.0, at_least=True, detail=detail)


def gate_decode(setting: Setting) -> Gate:
    ratio, detail = speedup(setting, "int4", "decode", 1000)
    name = "decode at 1,000 tokens in int4, times faster"
    return Gate(name=name, ratio=ratio, bound=5.0, at_least=True, detail=detail)


def gate_context(setting: Setting) -> Gate:
    """Decode at 4,000 tokens over decode at 500: what is left of it if the cache were copied per step."""
    worker = Worker("ours", setting.bundle("int4"), setting.threads)
    try:
        pairs = [(worker.ms("decode", 4000), worker.ms("decode", 500)) for _ in range(10 * setting.rounds)]
    finally:
        worker.close()
    ratio = statistics.median(a / b for a, b in pairs)
    detail = f"{statistics.median(a for a, _ in pairs):.1f} ms against {statistics.median(b for _, b in pairs):.1f} ms"
    return Gate(
        name="decode at 4,000 tokens, times the cost at 500", ratio=ratio, bound=2.2, at_least=False, detail=detail
    )


def gate_memory(setting: Setting) -> Gate:
    """Resident peak of a fresh process that answers about a picture, tower included."""
    image = write_picture(setting.folder / "picture.png", 640, 480)
    peaks_mb = {}
    for kind, folder in (("ours", setting.bundle("int4")), ("transformers", setting.checkpoint())):
        worker = Worker(kind, folder, setting.threads)
        worker.ms("answer", str(image))
        peaks_mb[kind] = worker.peak_mb()
        worker.close()
    detail = f"{peaks_mb['ours']:.0f} MB against {peaks_mb['transformers']:.0f} MB"
    ratio = peaks_mb["ours"] / peaks_mb["transformers"]
    return Gate(name="peak memory of an answer in int4, share", ratio=ratio, bound=0.45, at_least=False, detail=detail)


def gate_build(setting: Setting, shape: str) -> Gate:
    ratio, detail = build_peak_ratio(random_checkpoint(shape, setting.folder), setting.folder, "int4")
    name = f"peak memory of a build, {shape}, times the source weights"
    return Gate(name=name, ratio=ratio, bound=2.2, at_least=False, detail=detail)


GATES: dict[str, Callable[[Setting], Gate]] = {
    "encode": gate_encode,
    "encode-fp32": gate_encode_fp32,
    "prefill": gate_prefill,
    "decode": gate_decode,
    "context": gate_context,
    "memory": gate_memory,
    "build-0.5b": lambda setting: gate_build(setting, "0.5b"),
    "build-7b": lambda setting: gate_build(setting, "7b-2-layers"),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("gates", nargs="*", metavar="GATE", help=f"default: all of {', '.join(GATES)}")
    parser.add_argument("--folder", type=Path, default=Path("runs/gates"), help="for checkpoints and bundles (8 GB)")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    args = parser.parse_args()
    if unknown := set(args.gates) - GATES.keys():
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    setting = Setting(folder=args.folder, threads=args.threads, rounds=args.rounds)
    gates = []
    print("| what | bound | measured | | ours against transformers fp32 |\n|---|---|---|---|---|", flush=True)
    for name in args.gates or GATES:
        gates.append(GATES[name](setting))
        print(gates[-1].row(), flush=True)
    write_results(gates, setting)
    return 0 if all(gate.reached for gate in gates) else 1


def write_results(gates: list[Gate], setting: Setting) -> None:
    """Into gates.json; gates that were not run this time keep what was measured before."""
    from importlib.metadata import version

    RESULTS.mkdir(exist_ok=True)
    file = RESULTS / "gates.json"
    known = json.loads(file.read_text())["gates"] if file.exists() else {}
    measured = {gate.name: {**asdict(gate), "reached": gate.reached} for gate in gates}
    versions = {name: version(name) for name in ("onnxruntime", "torch", "transformers", "numpy")}
    machine = {"processor": processor_name(), "threads": setting.threads, "python": platform.python_version()}
    raw = {"machine": machine, "versions": versions, "gates": {**known, **measured}}
    file.write_text(json.dumps(raw, indent=1, ensure_ascii=False) + "\n")


def processor_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


if __name__ == "__main__":
    sys.exit(main())
