"""Exponents of known curves, and how a curve is put together."""

from __future__ import annotations

import math
from typing import Any, cast

import pytest

from benchmarks import curves
from benchmarks.curves import CURVES, GRIDS, Curve, curve, curve_of, exponent, is_wide
from benchmarks.measure import spread
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

    found = curve(RAN, "steps", "rows", (1, 2), ask, cast(Worker, None), rounds=3)
    assert asked == [1, 1, 2, 1, 2, 1, 2]
    assert found.series == {"step": (spread([2, 4, 6]), spread([6, 10, 14])), "tokens": (spread([1]), spread([2]))}
    assert set(found.exponents()) == {"step"} and found.rounds == (3, 3) and not found.notes


def test_exponents_are_over_the_work_that_was_done() -> None:
    """Two tiles of a picture are three that are encoded, and tokens do not grow with tiles beyond nine."""
    points = {1: (2, 10), 3: (4, 20), 9: (10, 40)}  # x -> tiles, tokens
    found = [
        {"encode": [5.0 * tiles], "prefill": [float(tokens**2)], "tiles": [float(tiles)], "tokens": [float(tokens)]}
        for tiles, tokens in points.values()
    ]
    told = curve_of(RAN, "tiles", "tiles of a picture", tuple(points), found)
    assert told.exponents() == {"encode": pytest.approx(1), "prefill": pytest.approx(2)}
    assert (told.over("encode"), told.over("prefill")) == ("tiles", "tokens")


def test_a_point_that_takes_long_has_fewer_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]

    def ask(_: Worker, x: float) -> dict[str, float]:
        clock[0] += x
        return {"step": x}

    monkeypatch.setattr(curves.time, "perf_counter", lambda: clock[0])
    found = curve(RAN, "steps", "rows", (1, 80), ask, cast(Worker, None), rounds=4)
    assert found.rounds == (4, 2) and found.notes == ("2 rounds, not 4, of points that take over 60 s",)


def test_a_peak_of_all_so_far_is_told() -> None:
    found = curve_of(RAN, "tiles", "tiles", (1,), [{"peak_mb": [5.0], "of_point": [False]}])
    assert "of all so far" in found.notes[0] and set(found.series) == {"peak_mb"}


def test_what_is_wide() -> None:
    assert is_wide(spread([10, 10, 20, 20])) and not is_wide(spread([10, 10.5, 11]))


RAN = {"contestant": "ours int4", "precision": "int4", "device": "cpu", "threads": 1, "versions": {"library": "1"}}


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

    def start_peak(self) -> bool:
        return True


@pytest.mark.parametrize("name", CURVES)
def test_every_curve_asks_for_what_there_is(name: str) -> None:
    x_name, xs, ask = CURVES[name]
    found = curve(RAN, name, x_name, xs, ask, cast(Worker, FakeWorker()), rounds=1)
    assert isinstance(found, Curve) and all(len(values) == len(xs) for values in found.series.values())


def test_pictures_go_from_one_tile_to_all() -> None:
    counts = [rows * columns for rows, columns in GRIDS]
    assert counts == sorted(set(counts)) and (counts[0], counts[-1]) == (1, 36)
