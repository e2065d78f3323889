"""Exponents of known curves, and how a curve is put together."""

from __future__ import annotations

import math
from typing import Any, cast

import pytest

from benchmarks.curves import CURVES, GRIDS, Curve, curve, exponent
from benchmarks.worker import Worker


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0, 2.0])
def test_exponent_of_a_power(power: float) -> None:
    x = (1, 2, 5, 20)
    assert exponent(x, [3 * value**power for value in x]) == pytest.approx(power, abs=1e-9)


def test_exponent_of_a_fixed_cost_and_a_linear_one_is_between() -> None:
    assert 0 < exponent((1, 2, 4, 8), [10 + value for value in (1, 2, 4, 8)]) < 1


@pytest.mark.parametrize(("x", "y"), [((1,), (1,)), ((2, 2), (1, 3)), ((1, 2), (0, 0))])
def test_nothing_to_fit(x: tuple[float, ...], y: tuple[float, ...]) -> None:
    assert math.isnan(exponent(x, y))


def test_a_curve_is_of_medians() -> None:
    asked: list[float] = []

    def ask(_: Worker, x: float) -> dict[str, float]:
        asked.append(x)
        return {"step": x * len(asked), "tokens": x}

    found = curve("steps", "rows", (1, 2), ask, cast(Worker, None), rounds=3)
    assert asked == [1, 1, 2, 1, 2, 1, 2]
    assert found.series == {"step": (4, 10), "tokens": (1, 2)}
    assert set(found.exponents()) == {"step"}


class FakeWorker:
    """Takes what a worker of loads is asked for, and answers with its size."""

    def ask(self, call: str, **arguments: Any) -> Any:
        answers: dict[str, Any] = {
            "picture": {"encode": 1.0},
            "clip": {"encode": 1.0},
            "batch": {"step": 1.0},
            "turns": {f"turn_{number + 1}": 5.0 + number for number in range(arguments.get("count", 0))},
        }
        return answers.get(call, 2.0)

    def peak_mb(self) -> float:
        return 100.0


@pytest.mark.parametrize("name", CURVES)
def test_every_curve_asks_for_what_there_is(name: str) -> None:
    x_name, xs, ask = CURVES[name]
    found = curve(name, x_name, xs, ask, cast(Worker, FakeWorker()), rounds=1)
    assert isinstance(found, Curve) and all(len(values) == len(xs) for values in found.series.values())


def test_pictures_go_from_one_tile_to_all() -> None:
    counts = [rows * columns for rows, columns in GRIDS]
    assert counts == sorted(set(counts)) and (counts[0], counts[-1]) == (1, 36)
