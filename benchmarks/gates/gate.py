"""What a gate is: a measured figure, and what it is to be at least or at most."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from benchmarks.measure import Spread, short
from benchmarks.setting import Setting


@dataclass(frozen=True, kw_only=True)
class Measured:
    """`value` is what the bound is about; `low` and `high` are its quartiles where there are several rounds."""

    value: float
    low: float | None = None
    high: float | None = None
    detail: str = ""
    rounds: int = 1
    versions: dict[str, dict[str, str]] = field(default_factory=dict)  # of each side, by contestant

    @classmethod
    def of(cls, found: Spread, detail: str, rounds: int, versions: dict[str, dict[str, str]]) -> Measured:
        return cls(value=found.median, low=found.low, high=found.high, detail=detail, rounds=rounds, versions=versions)

    @classmethod
    def told(cls, found: tuple[float, str], rounds: int = 1) -> Measured:
        """Of functions that give a figure and its details, and measure in this environment."""
        value, detail = found
        return cls(value=value, detail=detail, rounds=rounds)

    def __str__(self) -> str:
        around = "" if self.low is None or self.high is None else f" ({short(self.low)} to {short(self.high)})"
        return f"{short(self.value)}{around}"


@dataclass(frozen=True, kw_only=True)
class Gate:
    """A row of the table. Exactly one of the bounds is given."""

    what: str
    against: str
    measure: Callable[[Setting], Measured]
    at_least: float | None = None
    at_most: float | None = None
    device: str = "cpu"

    def __post_init__(self) -> None:
        assert (self.at_least is None) != (self.at_most is None)

    @property
    def bound(self) -> str:
        return f"≥ {self.at_least:g}" if self.at_least is not None else f"≤ {self.at_most:g}"

    def is_reached(self, value: float) -> bool:
        if self.at_least is not None:
            return value >= self.at_least
        assert self.at_most is not None
        return value <= self.at_most
