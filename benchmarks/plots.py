"""The report as pictures. Without matplotlib there are none, which is told."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.curves import CONTEXT, Curve
from benchmarks.pictures import STAGES, Answer
from benchmarks.report import Report

SIZE_INCHES = (6.4, 3.6)


def draw(report: Report, folder: Path) -> list[Path]:
    """Writes what there are figures for; returns the files."""
    try:
        import matplotlib
    except ImportError:
        print("no plots: matplotlib is not installed (it comes with the extra `train`)", file=sys.stderr)
        return []
    matplotlib.use("Agg")
    folder.mkdir(parents=True, exist_ok=True)
    contexts = [curve for curve in report.curves if curve.name == CONTEXT]
    tiles = [curve for curve in report.curves if curve.name == "tiles"]
    files = []
    if report.answers:
        files += [_save(folder / "first-token.svg", _first_token, report.answers)]
        files += [_save(folder / "memory.svg", _memory, report.answers)]
    if contexts:
        files.append(_save(folder / "decode.svg", _decode, contexts))
    if tiles:
        files.append(_save(folder / "tiles.svg", _tiles, tiles[0]))
    return files


def _save(file: Path, plot: Any, data: Any) -> Path:
    from matplotlib import pyplot

    with pyplot.rc_context({"svg.hashsalt": "ovexport", "axes.spines.top": False, "axes.spines.right": False}):
        figure, axes = pyplot.subplots(figsize=SIZE_INCHES, layout="constrained")
        plot(axes, data)
        figure.savefig(file, metadata={"Date": None})  # the same picture is the same file
        pyplot.close(figure)
    return file


def _first_token(axes: Any, answers: list[Answer]) -> None:
    names = [answer.contestant for answer in answers]
    left = [0.0] * len(answers)
    for stage in STAGES:
        widths = [answer.stages_ms[stage].median / 1e3 for answer in answers]
        axes.barh(names, widths, left=left, label=stage)
        left = [start + width for start, width in zip(left, widths, strict=True)]
    rest = [max(0, a.stages_ms["first_token"].median / 1e3 - start) for a, start in zip(answers, left, strict=True)]
    axes.barh(names, rest, left=left, label="other", color="0.8")
    axes.invert_yaxis()
    axes.set_xlabel("seconds from a 640 x 480 picture to the first token")
    axes.legend(frameon=False)


def _memory(axes: Any, answers: list[Answer]) -> None:
    bars = axes.barh([answer.contestant for answer in answers], [answer.peak_mb.median / 1e3 for answer in answers])
    axes.bar_label(bars, fmt="%.1f", padding=3)
    axes.invert_yaxis()
    axes.set_xlabel("resident peak of that process, GB")


def _decode(axes: Any, curves: Sequence[Curve]) -> None:
    for curve in curves:
        label = f"{curve.contestant} ({curve.precision})"
        axes.plot(curve.x, [1e3 / step.median for step in curve.series["step"]], marker="o", label=label)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("tokens of context")
    axes.set_ylabel("tokens a second")
    axes.legend(frameon=False)


def _tiles(axes: Any, curve: Curve) -> None:
    below = [0.0] * len(curve.x)
    for stage in STAGES:
        above = [start + spent.median / 1e3 for start, spent in zip(below, curve.series[stage], strict=True)]
        axes.fill_between(curve.x, below, above, label=stage)
        below = above
    axes.set_xlabel("tiles of the picture (without its base view)")
    axes.set_ylabel("seconds to the first token, int4")
    axes.legend(frameon=False, loc="upper left")
