"""How cost grows with work: tiles, frames, length of the prompt, context, rows of a batch, turns of a conversation.

The exponent is the slope of a straight line through the logarithms of medians and of the work that was done (tiles that
were encoded, tokens that were read): 1 is linear, 2 quadratic, 0 no growth.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.agreement import agreed, opened, reference_outputs
from benchmarks.environments import python_of
from benchmarks.measure import Spread, spread, take_turns
from benchmarks.peers.table import PEERS, REFERENCE
from benchmarks.ran import Ran, ran
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
WORK_OF = {"prefill": "tokens"}  # the series over which a stage's exponent is; of all others the tiles
LONG_S, LONG_ROUNDS = 60.0, 2  # a point that takes longer has only so many rounds, as all must be done within an hour
WIDE = 0.3  # of the median: quartiles further apart than that are told
CONTEXT = "context"
PEER_OF_CONTEXT = "llama.cpp Q4_0"
OTHER_PEER = {"cpu": REFERENCE, "cuda": "transformers fp16"}  # where that is not installed, or not measured

Found = dict[str, list[float]]  # values of a point's rounds by series


@dataclass(frozen=True, kw_only=True)
class Curve(Ran):
    """`series` are by name over `x`; all in milliseconds but those of NOT_TIMES."""

    name: str
    x_name: str
    x: tuple[float, ...]
    rounds: tuple[int, ...]  # of each point
    series: dict[str, tuple[Spread, ...]]
    notes: tuple[str, ...] = ()

    def exponents(self) -> dict[str, float]:
        return {
            name: exponent(self.work(name), [value.median for value in values])
            for name, values in self.series.items()
            if name not in NOT_TIMES
        }

    def over(self, series: str) -> str:
        """What that series' exponent is over: the name of another series, or `x`."""
        return next((name for name in (WORK_OF.get(series, "tiles"), "tiles") if name in self.series), self.x_name)

    def work(self, series: str) -> Sequence[float]:
        over = self.over(series)
        return [value.median for value in self.series[over]] if over in self.series else self.x


def exponent(x: Sequence[float], y: Sequence[float]) -> float:
    """Slope of the line of least squares through (log x, log y); NaN where there is nothing to fit."""
    points = [(math.log(a), math.log(b)) for a, b in zip(x, y, strict=True) if a > 0 and b > 0]
    if len({a for a, _ in points}) < 2:
        return math.nan
    mean_x, mean_y = (sum(column) / len(points) for column in zip(*points, strict=True))
    above = sum((a - mean_x) * (b - mean_y) for a, b in points)
    return above / sum((a - mean_x) ** 2 for a, _ in points)


def is_wide(value: Spread) -> bool:
    return value.high - value.low > WIDE * value.median


def measure(setting: Setting, ours: str, rounds: int, tell: Tell) -> Iterator[Curve]:
    """Every curve of one precision of ours, each in a process of its own, and a peer's over context beside ours. Raises
    Disagrees."""
    reference = reference_outputs(setting)
    for name, (x_name, xs, ask) in CURVES.items():
        tell(f"cost over {x_name}")
        with setting.process(ours) as worker:
            worker.start(LOADS, **setting.arguments(ours))
            agreed(worker, ours, reference)
            yield curve(ran(setting, ours, worker), name, x_name, xs, ask, worker, rounds)
    peer = PEER_OF_CONTEXT if has_peer(setting) else OTHER_PEER[setting.device]
    tell(f"cost over tokens of context, beside {peer}")
    yield from over_context(setting, [ours, peer], rounds)


def has_peer(setting: Setting) -> bool:
    peer = PEERS[PEER_OF_CONTEXT]
    return setting.device in peer.devices and python_of(peer.environment) is not None


Ask = Callable[[Worker, float], dict[str, float]]


def curve(
    told: dict[str, Any], name: str, x_name: str, xs: Sequence[float], ask: Ask, worker: Worker, rounds: int
) -> Curve:
    """Rounds go through all of `xs`, after a run of the smallest that does not count."""
    ask(worker, xs[0])
    found: list[Found] = [{} for _ in xs]
    long: set[int] = set()
    for done in range(rounds):
        for number, x in enumerate(xs):
            if number in long and done >= LONG_ROUNDS:
                continue
            started = time.perf_counter()
            for key, value in ask(worker, x).items():
                found[number].setdefault(key, []).append(value)
            if time.perf_counter() - started > LONG_S:
                long.add(number)
    return curve_of(told, name, x_name, xs, found)


def curve_of(told: dict[str, Any], name: str, x_name: str, xs: Sequence[float], found: list[Found]) -> Curve:
    series = {key: tuple(spread(point[key]) for point in found) for key in found[0]}
    rounds = tuple(len(next(iter(point.values()))) for point in found)
    notes = []
    if min(rounds) < max(rounds):
        notes.append(f"{min(rounds)} rounds, not {max(rounds)}, of points that take over {LONG_S:.0f} s")
    if not all(point.get("of_point", [1])[0] for point in found):
        notes.append("peak_mb is of all so far: this kernel does not set it back")
    series.pop("of_point", None)
    return Curve(**told, name=name, x_name=x_name, x=tuple(xs), rounds=rounds, series=series, notes=tuple(notes))


def over_context(setting: Setting, names: Sequence[str], rounds: int, xs: Sequence[float] = CONTEXTS) -> list[Curve]:
    """Both in turns; point by point, as each fills a cache for its context."""
    with opened(setting, names[0]) as one, opened(setting, names[1]) as other:
        workers = dict(zip(names, (one, other), strict=True))
        told = {name: ran(setting, name, worker) for name, worker in workers.items()}
        found: dict[str, list[Found]] = {name: [] for name in names}
        for x in xs:
            turns = {
                name: lambda worker=worker, x=x: float(worker.ask("decode", context=int(x), steps=STEPS))
                for name, worker in workers.items()
            }
            for name, steps_ms in take_turns(turns, rounds).items():
                found[name].append({"step": steps_ms})
    return [curve_of(told[name], CONTEXT, "tokens of context", xs, found[name]) for name in names]


def _picture(worker: Worker, tiles: float) -> dict[str, float]:
    rows, columns = next(grid for grid in GRIDS if grid[0] * grid[1] == tiles)
    of_point = worker.start_peak()
    spent: dict[str, float] = worker.ask("picture", rows=rows, columns=columns)
    return {**spent, "peak_mb": worker.peak_mb(), "of_point": of_point}


def _clip(worker: Worker, frames: float) -> dict[str, float]:
    spent: dict[str, float] = worker.ask("clip", frames=int(frames))
    return spent


def _prompt(worker: Worker, tokens: float) -> dict[str, float]:
    return {"prefill": worker.ask("prefill", tokens=int(tokens))}


def _batch(worker: Worker, rows: float) -> dict[str, float]:
    spent: dict[str, float] = worker.ask("batch", rows=int(rows), steps=STEPS)
    return spent


class _Turns:
    """A conversation is held once a round; each of its turns is then a point."""

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
    "batch": ("rows of a batch", ROWS, _batch),
    "turns": ("turns of a conversation", tuple(range(1, TURNS + 1)), _Turns()),
}
