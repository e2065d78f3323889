"""Accuracies as bars: by family, and by level of the taxonomy; with 95 % intervals and the level of chance.

The only file that imports matplotlib. It draws into files, never into windows.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ovengines.errors import ExitCode, OVError
from ovexport.evaluate.report import Evaluation
from ovexport.evaluate.tally import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FAMILIES_FILE, TAXONOMY_FILE = "eval-families.png", "eval-taxonomy.png"
GROUP_HEIGHT = 0.8  # of the distance between two rows
DPI = 120


def check_matplotlib() -> None:
    """Raise OVError (MISSING_DEPENDENCY) now rather than after the questions."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as err:
        raise OVError(
            ExitCode.MISSING_DEPENDENCY,
            "plots need matplotlib, which is not installed",
            "pip install 'ovexport[train]'",
        ) from err


def write_plots(evaluation: Evaluation, folder: Path) -> None:
    """`eval-families.png`, and `eval-taxonomy.png` with a panel for each level that has more than no value."""
    tally, names = evaluation.tally, [column.name for column in evaluation.columns]
    panels = {"family": (*tally.families, tally.all)}
    _figure(panels, names).savefig(folder / FAMILIES_FILE, dpi=DPI)
    levels = {level.replace("_", " "): rows for level, rows in tally.levels.items()}
    _figure(levels or {"all": (tally.all,)}, names).savefig(folder / TAXONOMY_FILE, dpi=DPI)


def _figure(panels: dict[str, tuple[Row, ...]], names: Sequence[str]) -> Figure:
    """A panel under another, as high as it has bars."""
    from matplotlib.figure import Figure

    heights = [len(rows) for rows in panels.values()]
    num_bars = sum(heights) * len(names)
    figure = Figure(figsize=(8, 1.2 + 0.6 * len(panels) + max(0.3 * sum(heights), 0.16 * num_bars)))
    figure.set_layout_engine("constrained")
    axes = figure.subplots(len(panels), 1, squeeze=False, gridspec_kw={"height_ratios": heights})[:, 0]
    for axis, (title, rows) in zip(axes, panels.items(), strict=True):
        _bars(axis, title, rows, names)
    axes[-1].set_xlabel("accuracy, % (whiskers: 95 % intervals)")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=4, frameon=False)
    return figure


def _bars(axis: Axes, title: str, rows: Sequence[Row], names: Sequence[str]) -> None:
    height = GROUP_HEIGHT / len(names)
    for target, name in enumerate(names):
        shares = [row.shares[target] for row in rows]
        ys = [y + (target - (len(names) - 1) / 2) * height for y in range(len(rows))]
        below = [100 * (share.accuracy - share.low) for share in shares]
        above = [100 * (share.high - share.accuracy) for share in shares]
        widths = [100 * share.accuracy for share in shares]
        axis.barh(ys, widths, height, label=name)
        axis.errorbar(widths, ys, xerr=[below, above], fmt="none", ecolor="0.35", elinewidth=0.8)
    known = [(y, row.chance) for y, row in enumerate(rows) if row.chance is not None]
    if known:
        half = GROUP_HEIGHT / 2
        places, chances = [y for y, _ in known], [100 * chance for _, chance in known]
        axis.vlines(chances, [y - half for y in places], [y + half for y in places], "black", label="chance")
    axis.set_yticks(range(len(rows)), [row.name for row in rows])
    axis.set_title(title, loc="left")
    axis.set_xlim(0, 100)
    axis.set_ylim(len(rows) - 0.5, -0.5)
    axis.spines[["top", "right"]].set_visible(False)
