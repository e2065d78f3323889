"""Where a step of one token goes, by operator, in int4: ours beside onnxruntime-genai's. `python -m benchmarks.profile`

ONNX Runtime writes down how long each kernel took; genai hands that setting on, so both are profiled as they are run.
The profiler takes some microseconds for each node, so both are also timed without it, all of them in turns. Told are
medians of the quietest quarter of the steps, as others may be at work: for a ratio take the gates.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from benchmarks.profiled import GENAI, OURS, decoder_file, timed_ms

if TYPE_CHECKING:
    import onnx

    from benchmarks.setting import Setting
    from benchmarks.worker import Worker
    from ovexport.model import LanguageConfig

ASKED = 1.5  # times as fast as genai, by issue 7
PAUSE_S = 0.05  # in which the threads of one session stop looking out for work
KERNEL = "_kernel_time"
READS_CACHE = ("Attention", "GroupQueryAttention")
QUIETEST = 0.25  # share of steps that count
SMALL_MS = 0.05  # operators below that are one row
READ_BYTES, READ_REPEATS = 1 << 29, 25


Step = TypeVar("Step")


@dataclass(frozen=True, kw_only=True)
class Row:
    """What one operator takes of a step: milliseconds of its kernels, and the bytes of weights and cache they read."""

    nodes: int
    ms: float
    read_bytes: float


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Medians of quiet steps. `profiled_ms` and `step_ms` are what the caller waits, with the profiler and without."""

    rows: Mapping[str, Row]
    profiled_ms: float
    step_ms: float

    @property
    def kernels_ms(self) -> float:
        return sum(row.ms for row in self.rows.values())

    @property
    def read_bytes(self) -> float:
        return sum(row.read_bytes for row in self.rows.values())


def measure(setting: Setting, *, context: int, steps: int, rounds: int) -> dict[str, Profile]:
    """Profiles of those that are installed, by name."""
    language = _language(setting)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        workers = _workers(setting, Path(folder), stack)
        waited = _take_turns(workers, context, steps, rounds)
        found = {}
        for name in [name for name, is_traced in workers if is_traced]:
            workers[name, True].ask("finish")
            (trace,) = Path(folder).glob(f"{_trace_name(name)}*.json")
            kernels = step_kernels(json.loads(trace.read_text()), language, steps * rounds)
            reads = read_bytes(_model_file(name, setting.source(name)), language, context)
            profiled_ms, step_ms = (quiet_median(waited[name, is_traced]) for is_traced in (True, False))
            found[name] = summarise(kernels, reads, profiled_ms=profiled_ms, step_ms=step_ms)
    return found


def _workers(setting: Setting, traces: Path, stack: ExitStack) -> dict[tuple[str, bool], Worker]:
    """Two for each contestant that is installed: without the profiler, and with it (True)."""
    from benchmarks.setting import NotInstalled

    workers = {}
    for name in (OURS, GENAI):
        try:
            found = [stack.enter_context(setting.process(name)) for _ in range(2)]
            source = str(setting.source(name))
        except NotInstalled as err:
            print(f"{err}; profiled is ours alone", file=sys.stderr)
            continue
        for worker, trace in zip(found, (None, str(traces / _trace_name(name))), strict=True):
            worker.start("benchmarks.profiled", peer=name, folder=source, threads=setting.threads, trace=trace)
            workers[name, trace is not None] = worker
    return workers


def _trace_name(name: str) -> str:
    return name.replace(" ", "-")


def _take_turns(
    workers: Mapping[tuple[str, bool], Worker], context: int, steps: int, rounds: int
) -> dict[tuple[str, bool], list[float]]:
    """Milliseconds of each step; the first round, which also reads the context, is left out."""
    waited: dict[tuple[str, bool], list[float]] = {key: [] for key in workers}
    for number in range(1 + rounds):
        for key, worker in workers.items():
            time.sleep(PAUSE_S)
            found = worker.ask("steps_ms", context=context, steps=steps)
            waited[key] += found if number else []
    return waited


def _model_file(name: str, source: Path) -> Path:
    from ovengines.bundle.reader import open_bundle

    return source / "model.onnx" if name == GENAI else decoder_file(open_bundle(source))


def _language(setting: Setting) -> LanguageConfig:
    from ovexport.checkpoint import open_checkpoint

    with open_checkpoint(setting.weights()) as checkpoint:
        return checkpoint.config.language


def step_kernels(trace: Sequence[Mapping[str, Any]], language: LanguageConfig, count: int) -> list[dict[str, Row]]:
    """Of each of the last `count` runs in a profile, by operator; an If counts without the kernels of its branch."""
    runs = [event for event in trace if event["name"] == "model_run"][-count:]
    kernels = [event for event in trace if event.get("cat") == "Node" and event["name"].endswith(KERNEL)]
    found = []
    for run in runs:
        inside = [event for event in kernels if _is_within(event, run)]
        nodes, spent_us = defaultdict[str, int](int), defaultdict[str, float](float)
        for event in inside:
            nested = [e for e in inside if _is_within(e, event)] if event["args"]["op_name"] == "If" else []
            nodes[_operator(event, language)] += 1
            spent_us[_operator(event, language)] += event["dur"] - sum(e["dur"] for e in nested)
        found.append({name: Row(nodes=nodes[name], ms=us / 1e3, read_bytes=0) for name, us in spent_us.items()})
    return found


def _is_within(event: Mapping[str, Any], outer: Mapping[str, Any]) -> bool:
    return event is not outer and outer["ts"] <= event["ts"] < outer["ts"] + outer["dur"]


def _operator(event: Mapping[str, Any], language: LanguageConfig) -> str:
    kind = str(event["args"]["op_name"])
    if kind != "MatMulNBits":
        return kind
    (taken,), (given,) = (event["args"][key][0].values() for key in ("input_type_shape", "output_type_shape"))
    return product(taken[-1], given[-1], language)


def product(columns: int, rows: int, language: LanguageConfig) -> str:
    """Which matrix of the model it is, or which of them side by side."""
    if rows == language.vocab_size:
        return "MatMulNBits: head"
    if columns == language.intermediate:
        return "MatMulNBits: down"
    if rows % language.intermediate == 0:
        return "MatMulNBits: gate and up"
    return "MatMulNBits: " + ("out of attention" if rows == language.hidden else "queries, keys, values")


def read_bytes(file: Path, language: LanguageConfig, tokens: int) -> dict[str, float]:
    """By operator: what a step can't do without reading, the weights of its products and the cache of `tokens`."""
    import onnx

    read: dict[str, set[str]] = defaultdict(set)
    graph = onnx.load(file, load_external_data=False).graph
    sizes = {weight.name: _size_bytes(weight) for weight in graph.initializer}
    for node in _nodes(graph):
        if node.op_type == "MatMulNBits":
            shape = {a.name: a.i for a in node.attribute if a.name in ("K", "N")}
            read[product(shape["K"], shape["N"], language)].update(node.input)
    values = 2 * tokens * language.num_layers * language.num_kv_heads * language.head_dim
    found = {name: float(sum(sizes.get(given, 0) for given in inputs)) for name, inputs in read.items()}
    return {**found, **dict.fromkeys(READS_CACHE, 4.0 * values)}


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _nodes(attribute.g)


def _size_bytes(weight: onnx.TensorProto) -> int:
    import onnx

    item_bytes = onnx.helper.tensor_dtype_to_np_dtype(weight.data_type).itemsize
    return int(np.prod(weight.dims, dtype=np.int64)) * item_bytes


def quiet_median(values: Sequence[float]) -> float:
    return statistics.median(_quietest(values, lambda value: value))


def _quietest(steps: Sequence[Step], cost: Callable[[Step], float]) -> list[Step]:
    return sorted(steps, key=cost)[: max(1, round(QUIETEST * len(steps)))]


def summarise(
    steps: Sequence[Mapping[str, Row]], reads: Mapping[str, float], *, profiled_ms: float, step_ms: float
) -> Profile:
    rows = {}
    quiet = _quietest(steps, lambda step: sum(row.ms for row in step.values()))
    for name in dict.fromkeys(name for step in quiet for name in step):
        found = [step.get(name, Row(nodes=0, ms=0, read_bytes=0)) for step in quiet]
        rows[name] = Row(
            nodes=max(row.nodes for row in found),
            ms=statistics.median(row.ms for row in found),
            read_bytes=reads.get(name, 0),
        )
    return Profile(rows=rows, profiled_ms=profiled_ms, step_ms=step_ms)


def table(profiles: Mapping[str, Profile]) -> str:
    """Markdown. The columns of each contestant are nodes, milliseconds, megabytes and gigabytes a second."""
    first = next(iter(profiles.values()))
    names = sorted({name for one in profiles.values() for name in one.rows}, key=lambda name: -_ms(first, name))
    is_large = {name: any(_ms(one, name) >= SMALL_MS for one in profiles.values()) for name in names}
    head = "".join(f" {peer}: nodes | ms | MB read | GB/s |" for peer in profiles)
    lines = [f"| operator |{head}", "|---|" + "---|" * 4 * len(profiles)]
    lines += [_line(name, [one.rows.get(name) for one in profiles.values()]) for name in names if is_large[name]]
    small = [name for name in names if not is_large[name]]
    lines.append(_line("all others", [_sum_of(one, small) for one in profiles.values()]))
    for told, value in (
        ("all kernels", lambda one: one.kernels_ms),
        ("outside of kernels", lambda one: one.profiled_ms - one.kernels_ms),
        ("a step with the profiler", lambda one: one.profiled_ms),
        ("a step without it", lambda one: one.step_ms),
    ):
        lines.append(f"| {told} |" + "".join(f" | {value(one):.2f} | | |" for one in profiles.values()))
    return "\n".join(lines)


def _line(name: str, rows: Sequence[Row | None]) -> str:
    return f"| {name} |" + "".join(_cells(row) for row in rows)


def _cells(row: Row | None) -> str:
    if row is None or not row.nodes:
        return " | | | |"
    read = f"{row.read_bytes / 1e6:.1f} | {row.read_bytes / row.ms / 1e6:.1f}" if row.read_bytes else "|"
    return f" {row.nodes} | {row.ms:.2f} | {read} |"


def _ms(profile: Profile, name: str) -> float:
    return profile.rows[name].ms if name in profile.rows else 0.0


def _sum_of(profile: Profile, names: Sequence[str]) -> Row:
    rows = [profile.rows[name] for name in names if name in profile.rows]
    return Row(nodes=sum(row.nodes for row in rows), ms=sum(row.ms for row in rows), read_bytes=0)


def budget(profiles: Mapping[str, Profile], gb_per_s: float) -> str:
    """What each has to read at the measured bandwidth, and how far it is from that; what was asked for, likewise."""
    lines = [f"Measured read bandwidth: {gb_per_s:.1f} GB/s."]
    for name, one in profiles.items():
        floor_ms = one.read_bytes / gb_per_s / 1e6
        times = f"{one.step_ms:.2f} ms are {one.step_ms / floor_ms:.2f} times that"
        lines.append(f"- {name} reads {one.read_bytes / 1e6:.1f} MB a step: at least {floor_ms:.2f} ms; {times}.")
    if GENAI in profiles:
        ours, wanted_ms = profiles[OURS], profiles[GENAI].step_ms / ASKED
        rate = ours.read_bytes / wanted_ms / 1e6
        now = profiles[GENAI].step_ms / ours.step_ms
        lines.append(
            f"- Ours is {now:.2f} times as fast. {ASKED} times would be {wanted_ms:.2f} ms: {rate:.1f} GB/s throughout."
        )
    return "\n".join(lines)


def read_gb_per_s(threads: int) -> float:
    """Of the fastest of several sums over far more than any cache."""
    import torch

    torch.set_num_threads(threads)
    data = torch.ones(READ_BYTES // 4)
    best_ms = min(timed_ms(torch.sum, data) for _ in range(READ_REPEATS))
    return READ_BYTES / best_ms / 1e6


def main(argv: Sequence[str] | None = None) -> int:
    from benchmarks.setting import Setting

    parser = argparse.ArgumentParser(prog="python -m benchmarks.profile", description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--checkpoint", type=Path, help="a real one; default: random weights of the 0.5B shape, made on the spot")
    add("--folder", type=Path, default=Path("runs/bench"), help="for weights and bundles")
    add("--threads", type=int, default=os.cpu_count())
    add("--context", type=int, default=1000, help="tokens in the cache")
    add("--steps", type=int, default=8, help="tokens a round")
    add("--rounds", type=int, default=8)
    args = parser.parse_args(argv)
    args.folder.mkdir(parents=True, exist_ok=True)
    setting = Setting(folder=args.folder, threads=args.threads, checkpoint=args.checkpoint)
    gb_per_s = read_gb_per_s(args.threads)
    profiles = measure(setting, context=args.context, steps=args.steps, rounds=args.rounds)
    counted = f"medians of the quietest {QUIETEST:.0%} of {args.steps * args.rounds} steps"
    print(f"A token after {args.context:,}, {args.threads} threads, {counted}.\n")
    print(f"{table(profiles)}\n\n{budget(profiles, max(gb_per_s, read_gb_per_s(args.threads)))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
