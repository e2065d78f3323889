"""The outcome of a comparison: rows, verdict, text table, JSON. `page` draws the HTML.

Says nothing of the machine it ran on, so that reports of two machines differ only where the results do.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

from ovengines.errors import ExitCode, OVError
from ovexport.verify.metrics import HISTOGRAM_EDGES, Metrics
from ovexport.verify.ranges import FLOAT16_MAX, RangeRow
from ovexport.verify.tolerance import Tolerance

REPORT_VERSION = 1
REPORT_FILES = ("report.json", "report.html")
_VERSIONED = ("ovexport", "onnxruntime", "onnxruntime-gpu", "onnx", "numpy", "pillow")


def installed_versions() -> dict[str, str]:
    found = {}
    for name in _VERSIONED:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What was compared with what."""

    model: str
    revision: str | None
    source_sha256: str
    precision: str
    engine: str
    torch_version: str
    seed: int
    tiles: int
    visual_tokens: int
    prompt_tokens: int
    steps: int


@dataclass(frozen=True, kw_only=True)
class Row:
    """One array that a graph, or the pipeline, gave, against PyTorch's.

    greedy_equal of greedy_total: equal leading tokens of a greedy continuation; told, never judged, since one near-tie
    of random weights decides it.
    """

    graph: str  # kind in the tolerance table: vision, projector, decoder, rounded, seen, pipeline
    stage: str
    quantity: str
    precision: str
    metrics: Metrics
    tolerance: Tolerance
    greedy_equal: int | None = None
    greedy_total: int | None = None

    @property
    def passed(self) -> bool:
        return self.metrics.not_finite == 0 and self.tolerance.holds(self.metrics)

    @property
    def finding(self) -> str:
        """What is wrong, in a few words; empty if nothing is."""
        if self.passed:
            return ""
        if self.metrics.not_finite:
            return f"{self.metrics.not_finite} values are not finite"
        broken = self.broken()
        return ", ".join(f"{name.replace('_', ' ')} {value:.2e} (limit {limit:.0e})" for name, value, limit in broken)

    def broken(self) -> list[tuple[str, float, float]]:
        """(metric, value, limit) of each limit that does not hold."""
        found = []
        for name in ("max_error", "rms_error"):
            value, limit = getattr(self.metrics, name), getattr(self.tolerance, name)
            if value is not None and value > limit:
                found.append((name, value, limit))
        cosine = self.metrics.min_cosine
        if cosine is not None and cosine < self.tolerance.min_cosine:
            # As distance from 1, so that larger is worse as for the others.
            found.append(("1 - cosine", 1 - cosine, 1 - self.tolerance.min_cosine))
        return found

    @property
    def badness(self) -> float:
        """How many times over its limit; infinite for what is not finite."""
        if self.metrics.not_finite:
            return float("inf")
        return max((value / limit for _, value, limit in self.broken()), default=0.0)


@dataclass(frozen=True, kw_only=True)
class AnswerRow:
    """A whole answer of the runtime, with PyTorch's opinion of each of its tokens given those before.

    equal: leading tokens that PyTorch would have chosen; same_choice: how many of all it would have. gap: how much it
    prefers its own choice where that is another, relative to its largest logit, the worst of all tokens. An answer may
    differ where PyTorch itself hardly has a preference.
    """

    sample: str
    precision: str
    equal: int
    same_choice: int
    total: int
    gap: float
    limit: float

    @property
    def stage(self) -> str:
        return f"answer to {self.sample}"

    @property
    def passed(self) -> bool:
        return self.gap <= self.limit

    @property
    def finding(self) -> str:
        return "" if self.passed else f"PyTorch prefers another token by {self.gap:.2e} (limit {self.limit:.0e})"

    @property
    def badness(self) -> float:
        return self.gap / self.limit


_FOOTNOTE = (
    "Judged: max, rms and cosine; for int8 and int4 most sharply where PyTorch has the same rounded weights.\n"
    "Told, not judged: argmax, which rounding changes where two tokens are close."
)


@dataclass(frozen=True, kw_only=True)
class Report:
    """Everything that `ovexport build --verify` and `ovexport verify` found."""

    subject: Subject
    rows: tuple[Row, ...]
    answers: tuple[AnswerRow, ...] = ()
    ranges: tuple[RangeRow, ...] = ()
    versions: dict[str, str] = field(default_factory=installed_versions)
    date: str = field(default_factory=lambda: datetime.now(timezone.utc).strftime("%Y-%m-%d"))

    @property
    def passed(self) -> bool:
        return not self.failed

    @property
    def failed(self) -> list[Row | AnswerRow | RangeRow]:
        every: list[Row | AnswerRow | RangeRow] = [*self.rows, *self.answers, *self.ranges]
        return [row for row in every if not row.passed]

    def with_answers(self, answers: Sequence[AnswerRow]) -> Report:
        return dataclasses.replace(self, answers=(*self.answers, *answers))

    def raise_if_failed(self) -> None:
        """Raise OVError (PARITY_FAILED) naming the worst row."""
        if not self.failed:
            return
        worst = max(self.failed, key=lambda row: row.badness)
        count = f"{len(self.failed)} of {len(self.rows) + len(self.answers) + sum(row.judged for row in self.ranges)}"
        raise OVError(
            ExitCode.PARITY_FAILED,
            f"{count} comparisons with PyTorch failed in {self.subject.precision}; the worst is {worst.stage}: "
            f"{worst.finding}",
            _hint(worst),
        )

    def table(self) -> str:
        """Lines for a terminal: aligned, PASS or FAIL at the end of each."""
        lines = _aligned(_ROW_TITLES, [_row_cells(row) for row in self.rows])
        if self.answers:
            lines += ["", *_aligned(_ANSWER_TITLES, [_answer_cells(row) for row in self.answers])]
        return "\n".join([*lines, *(_range_line(row) for row in self.ranges if row.judged), _FOOTNOTE])

    def as_json(self) -> dict[str, Any]:
        return {
            "report_version": REPORT_VERSION,
            "passed": self.passed,
            "date": self.date,
            "versions": self.versions,
            "subject": dataclasses.asdict(self.subject),
            "histogram_log10_edges": list(HISTOGRAM_EDGES),
            "rows": [_row_json(row) for row in self.rows],
            "answers": [_row_json(row) for row in self.answers],
            "ranges": [_row_json(row) for row in self.ranges],
        }

    def to_json(self) -> str:
        return json.dumps(self.as_json(), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def write_report(report: Report, folder: Path) -> None:
    """Write report.json and report.html into `folder`. Raises OSError as the disk does."""
    from ovexport.verify.page import render_page

    for name, text in zip(REPORT_FILES, (report.to_json(), render_page(report)), strict=True):
        (folder / name).write_text(text, encoding="utf-8")


def _hint(worst: Row | AnswerRow | RangeRow) -> str:
    if isinstance(worst, RangeRow):
        return "use --precision bf16 (for GPUs), or fp32"
    return "try --precision fp32; if that fails as well, please report it with the table of all comparisons"


_ROW_TITLES = ("stage", "output", "max error", "mean error", "rms error", "rms limit", "cosine", "argmax", "")
_ANSWER_TITLES = ("answer", "equal", "same choice", "gap", "limit", "")


def _range_line(row: RangeRow) -> str:
    share = f"{100 * row.peak / FLOAT16_MAX:.2g} % of float16's range"
    return f"largest in the {row.part}: {row.peak:.4g} at {row.largest}, {share}  {_verdict(row.passed)}"


def _row_json(row: Row | AnswerRow | RangeRow) -> dict[str, Any]:
    return {**dataclasses.asdict(row), "passed": row.passed, "finding": row.finding}


def _row_cells(row: Row) -> list[str]:
    m = row.metrics
    errors = [_error(value) for value in (m.max_error, m.mean_error, m.rms_error, row.tolerance.rms_error)]
    return [
        row.stage,
        row.quantity,
        *errors,
        "-" if m.min_cosine is None else f"{m.min_cosine:.6f}",
        "" if m.argmax_agreement is None else f"{100 * m.argmax_agreement:.0f} %",
        _verdict(row.passed),
    ]


def _answer_cells(row: AnswerRow) -> list[str]:
    counts = [f"{count}/{row.total}" for count in (row.equal, row.same_choice)]
    return [row.sample, *counts, _error(row.gap), _error(row.limit), _verdict(row.passed)]


def _error(value: float | None) -> str:
    return "-" if value is None else f"{value:.1e}"


def _verdict(passed: bool) -> str:
    return "PASS" if passed else "FAIL"


def _aligned(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Words to the left, numbers to the right."""
    widths = [max(len(cell) for cell in column) for column in zip(titles, *rows, strict=True)]
    lines = []
    for cells in (titles, *rows):
        first, *others = zip(cells, widths, strict=True)
        padded = [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]
        lines.append("  ".join(padded).rstrip())
    return lines
