"""What was measured as JSON and as Markdown tables."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.curves import NOT_TIMES, Curve
from benchmarks.limits import Limits
from benchmarks.measure import short
from benchmarks.peers.table import CONTESTANTS
from benchmarks.pictures import STAGES, Answer
from benchmarks.speed import WORKS, Row, Told, as_dict


@dataclass(frozen=True, kw_only=True)
class Report:
    """Everything of one run; parts that were not asked for are empty."""

    machine: dict[str, str | int]
    versions: dict[str, str]
    weights: str
    limits: Limits
    rows: Sequence[Row] = ()
    told: Sequence[Told] = ()
    answers: Sequence[Answer] = ()
    curves: Sequence[Curve] = ()
    scaled: dict[str, float] = dataclasses.field(default_factory=dict)

    def as_json(self) -> str:
        raw: dict[str, Any] = {
            "machine": self.machine,
            "versions": self.versions,
            "weights": self.weights,
            "limits": dataclasses.asdict(self.limits),
            "rows": [as_dict(row) for row in self.rows],
            "agreement": [dataclasses.asdict(told) for told in self.told],
            "answers": [dataclasses.asdict(answer) for answer in self.answers],
            "curves": [{**dataclasses.asdict(curve), "exponents": curve.exponents()} for curve in self.curves],
            "scaled": self.scaled,
        }
        return json.dumps(raw, indent=1, ensure_ascii=False) + "\n"

    def as_markdown(self) -> str:
        parts = [_machine(self), _limits(self.limits), _agreement(self.told)]
        parts += [_work(work.name, work.title, self.rows) for work in WORKS]
        parts += [_answers(self.answers), _scaled(self.scaled), _curves(self.curves), _settings(self.told)]
        return "\n\n".join(part for part in parts if part) + "\n"

    def write(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "report.json").write_text(self.as_json())
        (folder / "report.md").write_text(self.as_markdown())


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [list(head), ["---"] * len(head), *map(list, rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _machine(report: Report) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in report.versions.items())
    machine = ", ".join(f"{name} {value}" for name, value in report.machine.items())
    return f"Weights: {report.weights}. Machine: {machine}.\nOurs: {versions}."


def _limits(limits: Limits) -> str:
    rates = [(f"{name} products", f"{short(rate)} GOP/s") for name, rate in limits.gop_per_s.items()]
    return "## Limits\n\n" + table(
        ("measured", limits.device), [("reading", f"{limits.read_gb_per_s:.1f} GB/s"), *rates]
    )


def _agreement(told: Sequence[Told]) -> str:
    if not told:
        return ""
    rows = []
    for one in told:
        agreement = one.agreement
        found = (agreement.features, agreement.logits, agreement.least) if agreement else (None, None, None)
        rows.append(
            (one.peer, *(("", f"{value:.5f}")[value is not None] if value else "" for value in found), one.reason)
        )
    head = ("contestant", "features", "logits", "at least", "")
    return "## How near to transformers in float32 (cosine, worst position)\n\n" + table(head, rows)


def _work(name: str, title: str, rows: Sequence[Row]) -> str:
    """A line for each pair: theirs, ours, and how many times faster."""
    pairs = [row for row in rows if row.work == name and row.times_faster is not None]
    if not pairs:
        return ""
    lines = []
    for mine in pairs:
        theirs = next(
            row for row in rows if (row.work, row.contestant, row.beside) == (name, mine.beside, mine.contestant)
        )
        cells = [(row.contestant, f"{row.ms}", f"{row.times_floor:.1f}") for row in (theirs, mine)]
        lines.append((*cells[0], *cells[1], f"{mine.times_faster}"))
    head = ("peer", "ms (quartiles)", "x floor", "ours", "ms (quartiles)", "x floor", "times faster (quartiles)")
    return f"## {title[0].upper()}{title[1:]}\n\n" + table(head, lines)


def _answers(answers: Sequence[Answer]) -> str:
    if not answers:
        return ""
    head = ("contestant", *STAGES, "first token, ms", "peak, MB", "open, ms", "imports, ms")
    rows = [
        (
            answer.contestant,
            *(short(answer.stages_ms[stage].median) for stage in STAGES),
            f"{answer.stages_ms['first_token']}",
            short(answer.peak_mb.median),
            f"{answer.open_ms}",
            short(answer.import_ms.median),
        )
        for answer in answers
    ]
    title = f"## A picture of 640 x 480 to the first token ({answers[0].tokens:,} tokens), in fresh processes"
    return f"{title}\n\n{table(head, rows)}"


def _scaled(scaled: dict[str, float]) -> str:
    if not scaled:
        return ""
    rows = [(name, f"{short(value)} ms") for name, value in scaled.items()]
    return "## The 7B shape, from one and two of its layers\n\n" + table(("ours int4", "28 layers"), rows)


def _curves(curves: Sequence[Curve]) -> str:
    parts = []
    for curve in curves:
        exponents = curve.exponents()
        rows = [
            (name, *(short(value) for value in values), f"{exponents[name]:.2f}" if name not in NOT_TIMES else "")
            for name, values in curve.series.items()
        ]
        head = (curve.x_name, *(short(x) for x in curve.x), "exponent")
        parts.append(f"### Over {curve.x_name}\n\n{table(head, rows)}")
    return "\n\n".join(["## Cost over work (ours int4, ms)", *parts]) if parts else ""


def _settings(told: Sequence[Told]) -> str:
    names = [one.peer for one in told if CONTESTANTS[one.peer].settings]
    rows = [(name, CONTESTANTS[name].settings) for name in names]
    return "## How the peers are set up\n\n" + table(("peer", "settings"), rows) if rows else ""
