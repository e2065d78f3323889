"""The promise of each precision, on held-out questions of the embedded model: at most so many points below PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.precisions import compare
from ovexport.evaluate.report import Evaluation

PER_FAMILY = 12
POINTS = {"fp32": 0.5, "fp16": 0.5, "int8": 1.0, "int4": 3.0}  # that a precision may cost


@pytest.fixture(scope="module")
def measured(build_tiny: Callable[[str], Path]) -> Evaluation:
    return compare([build_tiny(precision) for precision in POINTS], per_family=PER_FAMILY, threads=1)


@pytest.fixture(scope="module")
def points(measured: Evaluation) -> dict[str, float]:
    """Right answers in per cent, by who gave them."""
    accuracies = [100 * share.accuracy for share in measured.tally.all.shares]
    return dict(zip(("PyTorch", *POINTS), accuracies, strict=True))


def test_what_is_compared(measured: Evaluation) -> None:
    abouts = [column.about for column in measured.columns]
    assert [about.precision for about in abouts] == ["fp32", *POINTS]
    assert [about.kind for about in abouts] == ["pytorch"] + ["bundle"] * len(POINTS)
    assert measured.tally.all.num_questions == PER_FAMILY * len(measured.tally.families) > 300
    assert not measured.tally.left_out


def test_the_embedded_model_is_good_enough_to_compare_precisions(points: dict[str, float]) -> None:
    assert points["PyTorch"] > 80


@pytest.mark.parametrize("precision", POINTS)
def test_a_precision_costs_few_points(points: dict[str, float], precision: str) -> None:
    assert points[precision] >= points["PyTorch"] - POINTS[precision], points


def test_wide_precisions_say_what_pytorch_says(measured: Evaluation) -> None:
    fp32, fp16 = measured.tally.same_tokens[1:3]
    assert min(fp32, fp16) >= 0.95, (fp32, fp16)
