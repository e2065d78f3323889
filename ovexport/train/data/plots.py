"""The numbers of a mixture as pictures: a ring per level of the taxonomy, and bars of the largest files.

Draws what it is given; matplotlib is loaded when a picture is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ovengines.errors import ExitCode, OVError
from ovexport.train.data.records import LEVELS
from ovexport.train.data.stats_table import share
from ovexport.train.data.tally import NOT_HERE, PUBLISHED, EntryStats, MixtureStats, level_sums
from ovexport.train.data.taxonomy import NOT_STATED, VALUES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = ("png", "svg")
MOST_BARS = 30
_LEAST_BARS = 8  # as high as the legend beside them
_BAR_LEVEL = "instruction"
_PALETTE = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442")  # Okabe and Ito's
_GREY = "#c8c8c8"
_DPI = 150


def draw_plots(stats: MixtureStats, folder: Path) -> tuple[Path, ...]:
    """Writes levels and files, each as PNG and SVG; the paths, none where there are no records to draw.

    Raises OVError (USAGE) for a folder that can't be written.
    """
    if not stats.total.records:
        return ()
    from matplotlib import rc_context

    figures = {"levels": _levels_figure(stats), "files": _files_figure(stats)}
    paths = {folder / f"{name}.{form}": figure for name, figure in figures.items() for form in FORMATS}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with rc_context({"svg.fonttype": "none"}):  # text stays text: smaller, and it can be searched
            for path, figure in paths.items():
                figure.savefig(path, dpi=_DPI, bbox_inches="tight", facecolor="white")
    except OSError as err:
        raise OVError(
            ExitCode.USAGE, f"plots can't be written to {folder}: {err.strerror}", "choose another folder"
        ) from err
    return tuple(paths)


def _figure(width_in: float, height_in: float, title: str) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width_in, height_in), layout="constrained")
    figure.suptitle(title, fontsize=11, fontweight="bold", x=0.01, ha="left")
    return figure


def _title(stats: MixtureStats) -> str:
    unread = [source for source in (PUBLISHED, NOT_HERE) if stats.names(source)]
    note = f" ({', '.join(unread)}: {sum(len(stats.names(s)) for s in unread)} of {len(stats.entries)} files)"
    return f"{Path(stats.name).name}: {stats.total.records:,} records{note if unread else ''}"


def _colours(level: str, values: Mapping[str, object]) -> dict[str, str]:
    """The same colour for the same value in every picture."""
    known = dict(zip(VALUES[level], _PALETTE, strict=False))
    others = (value for value in values if value not in known and value != NOT_STATED)
    spare = dict(zip(others, _PALETTE[len(known) :], strict=False))
    return {value: {**known, **spare}.get(value, _GREY) for value in values}


def _levels_figure(stats: MixtureStats) -> Figure:
    figure = _figure(11, 4.8, _title(stats))
    for level, axes in zip(LEVELS, figure.subplots(1, len(LEVELS)), strict=True):
        _draw_ring(axes, level, stats)
    return figure


def _draw_ring(axes: Axes, level: str, stats: MixtureStats) -> None:
    records = {value: tally.records for value, tally in stats.level(level).items() if tally.records}
    total = sum(records.values())
    axes.set_title(level.replace("_", " "), fontsize=10)
    colours = _colours(level, records)
    ring, *_ = axes.pie(
        list(records.values()),
        colors=list(colours.values()),
        radius=1.2,
        startangle=90,
        counterclock=False,
        wedgeprops={"width": 0.45, "edgecolor": "white"},
    )
    names = [f"{value}  {count:,}  ({share(count, total)})" for value, count in records.items()]
    axes.legend(ring, names, loc="upper center", bbox_to_anchor=(0.5, 0.0), frameon=False, fontsize=8)


def _files_figure(stats: MixtureStats) -> Figure:
    """The largest files; the rest, if any, is one bar at the end."""
    largest = sorted((e for e in stats.entries if e.total.records), key=lambda e: -e.total.records)
    shown, rest = largest[:MOST_BARS], largest[MOST_BARS:]
    bars = {entry.name: _records(entry) for entry in shown}
    if rest:
        bars[f"{len(rest)} other files"] = _records(*rest)
    figure = _figure(11, 1.2 + 0.24 * max(len(bars), _LEAST_BARS), _title(stats))
    _draw_bars(figure.subplots(), bars)
    return figure


def _records(*entries: EntryStats) -> dict[str, int]:
    return {value: tally.records for value, tally in level_sums(_BAR_LEVEL, entries).items()}


def _draw_bars(axes: Axes, bars: Mapping[str, Mapping[str, int]]) -> None:
    values = [*VALUES[_BAR_LEVEL], *{v: 0 for bar in bars.values() for v in bar if v not in VALUES[_BAR_LEVEL]}]
    colours = _colours(_BAR_LEVEL, dict.fromkeys(values))
    places = range(len(bars))
    starts = [0] * len(bars)
    for value in values:
        widths = [bar.get(value, 0) for bar in bars.values()]
        if any(widths):
            axes.barh(places, widths, left=starts, color=colours[value], label=value, height=0.75)
            starts = [start + width for start, width in zip(starts, widths, strict=True)]
    for place, end in zip(places, starts, strict=True):
        axes.text(end, place, f" {end:,}", va="center", fontsize=7)
    axes.set_yticks(places, list(bars), fontsize=7)
    axes.invert_yaxis()
    axes.margins(x=0.1, y=0.01)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.tick_params(axis="x", labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel("records after sampling", fontsize=8)
    axes.legend(title=_BAR_LEVEL, fontsize=8, title_fontsize=8, frameon=False, loc="lower left", bbox_to_anchor=(1, 0))
