"""Interleaved runs: everybody takes a turn, several times, so that whatever else the machine does meets all alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

PAUSE_S = 0.05  # in which the threads of one library stop looking out for more work before the next has its turn

Turn = Callable[[], float]


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Median and quartiles."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{short(self.median)} ({short(self.low)} to {short(self.high)})"


def take_turns(turns: Mapping[str, Turn], rounds: int, warm_up: int = 1) -> dict[str, list[float]]:
    """What each turn gave in each round, the warm-up left out."""
    found: dict[str, list[float]] = {name: [] for name in turns}
    for number in range(warm_up + rounds):
        for name, turn in turns.items():
            time.sleep(PAUSE_S)
            value = turn()
            if number >= warm_up:
                found[name].append(value)
    return found


def spread(values: Sequence[float]) -> Spread:
    ordered = sorted(values)
    if len(ordered) == 1:
        return Spread(median=ordered[0], low=ordered[0], high=ordered[0])
    low, median, high = statistics.quantiles(ordered, n=4, method="inclusive")
    return Spread(median=median, low=low, high=high)


def times_faster(ours: Sequence[float], theirs: Sequence[float]) -> Spread:
    """Of the ratios of each round, in which both met the same machine."""
    return spread([b / a for a, b in zip(ours, theirs, strict=True)])


def short(value: float) -> str:
    """Three digits that count: 1,234 or 56.7 or 0.0123."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
