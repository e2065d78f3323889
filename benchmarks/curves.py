"""How cost grows with work: tiles, frames, length of the prompt, context, rows of a batch, turns of a conversation.

The exponent is the slope of a straight line through the logarithms: 1 is linear, 2 quadratic, 0 no growth.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from benchmarks.measure import spread
from benchmarks.setting import Setting
from benchmarks.speed import Tell
from benchmarks.worker import Worker

LOADS = "benchmarks.peers.ours_loads"
GRIDS = ((1, 1), (1, 2), (2, 2), (3, 3), (4, 4), (6, 6))  # of tiles
FRAMES = (1, 2, 4, 8, 16, 32)
PROMPTS = (250, 500, 1000, 2000, 4000, 8000)
CONTEXTS = (500, 1000, 2000, 4000, 7000)
ROWS = (1, 2, 4, 8)
TURNS = 8
STEPS = 8
NOT_TIMES = ("tiles", "tokens", "peak_mb")  # among the series of a curve


@dataclass(frozen=True, kw_only=True)
class Curve:
    """`series` are medians by name over `x`; all in milliseconds but those of NOT_TIMES."""

    name: str
    x_name: str
    x: tuple[float, ...]
    series: dict[str, tuple[float, ...]]

    def exponents(self) -> dict[str, float]:
        return {name: exponent(self.x, y) for name, y in self.series.items() if name not in NOT_TIMES}


def exponent(x: Sequence[float], y: Sequence[float]) -> float:
    """Slope of the line of least squares through (log x, log y); NaN where there is nothing to fit."""
    points = [(math.log(a), math.log(b)) for a, b in zip(x, y, strict=True) if a > 0 and b > 0]
    if len({a for a, _ in points}) < 2:
        return math.nan
    mean_x, mean_y = (sum(column) / len(points) for column in zip(*points, strict=True))
    above = sum((a - mean_x) * (b - mean_y) for a, b in points)
    return above / sum((a - mean_x) ** 2 for a, _ in points)


def measure(setting: Setting, ours: str, rounds: int, tell: Tell) -> Iterator[Curve]:
    """Every curve of one precision of ours, each in a process of its own so that peaks are its own."""
    for name, (x_name, xs, ask) in CURVES.items():
        tell(f"cost over {x_name}")
        with setting.process(ours) as worker:
            worker.start(LOADS, folder=str(setting.source(ours)), threads=setting.threads)
            yield curve(name, x_name, xs, ask, worker, rounds)


Ask = Callable[[Worker, float], dict[str, float]]


def curve(name: str, x_name: str, xs: Sequence[float], ask: Ask, worker: Worker, rounds: int) -> Curve:
    """Medians over rounds, each of which goes through all of `xs`, after a run of the smallest that does not count."""
    ask(worker, xs[0])
    found = [[ask(worker, x) for x in xs] for _ in range(rounds)]
    names = found[0][0]
    series = {
        key: tuple(spread([round_[number][key] for round_ in found]).median for number in range(len(xs)))
        for key in names
    }
    return Curve(name=name, x_name=x_name, x=tuple(xs), series=series)


def _picture(worker: Worker, tiles: float) -> dict[str, float]:
    rows, columns = next(grid for grid in GRIDS if grid[0] * grid[1] == tiles)
    spent: dict[str, float] = worker.ask("picture", rows=rows, columns=columns)
    return {**spent, "peak_mb": worker.peak_mb()}


def _clip(worker: Worker, frames: float) -> dict[str, float]:
    spent: dict[str, float] = worker.ask("clip", frames=int(frames))
    return spent


def _prompt(worker: Worker, tokens: float) -> dict[str, float]:
    return {"prefill": worker.ask("prefill", tokens=int(tokens))}


def _context(worker: Worker, tokens: float) -> dict[str, float]:
    return {"step": worker.ask("decode", context=int(tokens), steps=STEPS)}


def _batch(worker: Worker, rows: float) -> dict[str, float]:
    spent: dict[str, float] = worker.ask("batch", rows=int(rows), steps=STEPS)
    return spent


class _Turns:
    """A conversation is held once; each of its turns is then a point."""

    def __init__(self) -> None:
        self._spent: dict[str, float] = {}

    def __call__(self, worker: Worker, turn: float) -> dict[str, float]:
        if turn == 1:
            self._spent = worker.ask("turns", count=TURNS)
        return {"turn": self._spent[f"turn_{int(turn)}"]}


CURVES: dict[str, tuple[str, tuple[float, ...], Ask]] = {
    "tiles": ("tiles of a picture", tuple(rows * columns for rows, columns in GRIDS), _picture),
    "frames": ("frames of a clip", FRAMES, _clip),
    "prompt": ("tokens of a prompt", PROMPTS, _prompt),
    "context": ("tokens of context", CONTEXTS, _context),
    "batch": ("rows of a batch", ROWS, _batch),
    "turns": ("turns of a conversation", tuple(range(1, TURNS + 1)), _Turns()),
}
