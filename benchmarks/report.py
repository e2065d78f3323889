"""What was measured, whole: as JSON here, as Markdown in `markdown`."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import markdown
from benchmarks.curves import Curve
from benchmarks.floors import DEFINITION, Need
from benchmarks.limits import Limits
from benchmarks.measure import Spread
from benchmarks.pictures import Answer
from benchmarks.ran import Ran
from benchmarks.scaled import Scaled
from benchmarks.speed import WORKS, Row, Told


@dataclass(frozen=True, kw_only=True)
class Report:
    """Everything of one run; parts that were not asked for are empty. Floors are by the limits as they end up."""

    machine: dict[str, str | int]
    versions: dict[str, str]
    weights: str
    limits: Limits
    limits_apart: Sequence[str] = ()  # figures that were not the same each time
    rows: Sequence[Row] = ()
    told: Sequence[Told] = ()
    answers: Sequence[Answer] = ()
    curves: Sequence[Curve] = ()
    scaled: Sequence[Scaled] = ()
    failed: Sequence[str] = ()  # parts, with the reason

    @property
    def ran(self) -> list[Ran]:
        """One of every contestant, device and precision that has a figure."""
        found: Sequence[Ran] = [*self.rows, *self.answers, *self.curves, *self.scaled]
        return list({(one.contestant, one.precision, one.device): one for one in found}.values())

    def as_json(self) -> str:
        raw: dict[str, Any] = {
            "machine": self.machine,
            "versions": self.versions,
            "weights": self.weights,
            "limits": {**dataclasses.asdict(self.limits), "apart": list(self.limits_apart)},
            "floors": DEFINITION,
            "failed": list(self.failed),
            "rows": [self._floored(row) for row in self.rows],
            "agreement": [dataclasses.asdict(told) for told in self.told],
            "answers": [
                {**dataclasses.asdict(answer), "times_floor": self.floors_of(answer)} for answer in self.answers
            ],
            "curves": [{**dataclasses.asdict(curve), "exponents": curve.exponents()} for curve in self.curves],
            "scaled": [self._floored(row) for row in self.scaled],
        }
        return json.dumps(raw, indent=1, ensure_ascii=False) + "\n"

    def as_markdown(self) -> str:
        tables = markdown
        parts = [tables.machine(self.weights, self.machine, self.versions, self.failed), tables.contestants(self.ran)]
        parts += [tables.limits(self.limits, self.limits_apart), tables.agreement(self.told)]
        parts += [tables.work(work.name, work.title, self.rows, self.times_floor) for work in WORKS]
        parts += [tables.answers(self.answers, self.floors_of), tables.scaled(self.scaled, self.times_floor)]
        parts += [tables.curves(self.curves), tables.settings(self.told)]
        return "\n\n".join(part for part in parts if part) + "\n"

    def write(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "report.json").write_text(self.as_json())
        (folder / "report.md").write_text(self.as_markdown())

    def times_floor(self, row: Row | Scaled) -> float:
        return self._times(row.ms, row.need, row.precision)

    def floors_of(self, answer: Answer) -> dict[str, float]:
        return {
            stage: self._times(answer.stages_ms[stage], need, answer.precision) for stage, need in answer.needs.items()
        }

    def _times(self, spent: Spread, need: Need, precision: str) -> float:
        return spent.median / need.floor_ms(precision, self.limits)

    def _floored(self, row: Row | Scaled) -> dict[str, Any]:
        floor_ms = row.need.floor_ms(row.precision, self.limits)
        return {**dataclasses.asdict(row), "floor_ms": floor_ms, "times_floor": row.ms.median / floor_ms}
