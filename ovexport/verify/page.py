"""The report as one HTML file that needs nothing from elsewhere: its template is report.html beside this file.

Lays out the drawings (SVG coordinates); what the numbers mean is in `report`, how they look in the template.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from importlib import resources
from itertools import pairwise

from jinja2 import Environment, StrictUndefined

from ovexport.verify.metrics import HISTOGRAM_EDGES
from ovexport.verify.report import Report, Row

WIDTH_PX, HEIGHT_PX = 520, 132  # of the plot inside its margins
LEFT_PX, TOP_PX, BOTTOM_PX, RIGHT_PX = 38, 26, 26, 12

WHAT = {
    "vision": "pixels of the tiles → features of the tower, before any post-layernorm",
    "projector": "PyTorch's features and the token plan → visual tokens",
    "decoder": "ids and PyTorch's visual tokens → logits",
    "rounded": "the same logits against PyTorch with its weights rounded to the bundle's",
    "seen": "pixels → visual tokens, the projector fed by the tower: errors add up",
    "pipeline": "pixels and ids → logits, each stage fed by the one before: errors add up",
}


@dataclass(frozen=True, kw_only=True)
class Bar:
    x: float
    y: float
    width: float
    height: float
    label: str
    beyond: bool  # past the limit


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A vertical line with a name: the limit, the largest error, the mean."""

    x: float
    kind: str
    text: str
    anchor: str


@dataclass(frozen=True, kw_only=True)
class Panel:
    row: Row
    what: str
    bars: tuple[Bar, ...]
    marks: tuple[Mark, ...]
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]


def render_page(report: Report) -> str:
    """HTML of the report; every text in it is escaped."""
    source = (resources.files("ovexport.verify") / "report.html").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(source).render(
        report=report,
        panels=[_panel(row) for row in report.rows],
        size=(LEFT_PX + WIDTH_PX + RIGHT_PX, TOP_PX + HEIGHT_PX + BOTTOM_PX),
        plot=(LEFT_PX, TOP_PX, WIDTH_PX, HEIGHT_PX),
    )


def _panel(row: Row) -> Panel:
    shares = [count / max(1, row.metrics.values) for count in row.metrics.histogram]
    tallest = max(*shares, 0.05)
    step = next(s for s in (0.05, 0.1, 0.2, 0.25, 0.5) if tallest / s <= 4)
    y_ticks = [i * step for i in range(1, int(tallest / step + 1e-9) + 1)]
    decades = range(int(HISTOGRAM_EDGES[0]), int(HISTOGRAM_EDGES[-1]) + 1)
    return Panel(
        row=row,
        what=WHAT[row.graph],
        bars=tuple(_bars(row, shares, tallest)),
        marks=tuple(_marks(row)),
        x_ticks=tuple((_x(decade), _power(decade)) for decade in decades),
        y_ticks=tuple((_y(share, tallest), f"{100 * share:.0f} %") for share in y_ticks),
    )


def _bars(row: Row, shares: list[float], tallest: float) -> list[Bar]:
    bars = []
    edges = pairwise(HISTOGRAM_EDGES)
    for (low, high), share, count in zip(edges, shares, row.metrics.histogram, strict=True):
        if not count:
            continue
        height = max(1.0, HEIGHT_PX * share / tallest)  # one value in a million is still to be seen
        bars.append(
            Bar(
                x=round(_x(low) + 1, 1),
                y=round(TOP_PX + HEIGHT_PX - height, 1),
                width=round(_x(high) - _x(low) - 2, 1),
                height=round(height, 1),
                label=f"{count:,} of {row.metrics.values:,} values between 1e{low:g} and 1e{high:g}",
                beyond=10**low >= row.tolerance.max_error,
            )
        )
    return bars


def _marks(row: Row) -> list[Mark]:
    values = {"mean": row.metrics.mean_error, "max": row.metrics.max_error, "limit": row.tolerance.max_error}
    marks = []
    for kind, value in values.items():
        if value is not None and value > 0:
            x = round(_log_x(value), 1)
            # Names lean away from each other: the largest error is right of the mean, and mostly left of the limit.
            marks.append(Mark(x=x, kind=kind, text=kind, anchor="start" if kind == "limit" else "end"))
    return marks


def _log_x(value: float) -> float:
    return _x(min(max(math.log10(value), HISTOGRAM_EDGES[0]), HISTOGRAM_EDGES[-1]))


def _x(log_error: float) -> float:
    span = HISTOGRAM_EDGES[-1] - HISTOGRAM_EDGES[0]
    return round(LEFT_PX + WIDTH_PX * (log_error - HISTOGRAM_EDGES[0]) / span, 1)


def _y(share: float, tallest: float) -> float:
    return round(TOP_PX + HEIGHT_PX * (1 - share / tallest), 1)


def _power(decade: int) -> str:
    return "1" if decade == 0 else "10" + str(decade).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
