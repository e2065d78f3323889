"""The promise of each precision, on held-out scenes of the embedded model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.precisions import Answers, ask
from ovexport.train.heldout import HeldOutSample, heldout_samples

SCENES = 400
POINT = 0.01


@pytest.fixture(scope="module")
def samples() -> list[HeldOutSample]:
    return list(heldout_samples(SCENES))


@pytest.fixture(scope="module")
def fp32(build_tiny: Callable[[str], Path], samples: list[HeldOutSample]) -> Answers:
    return ask(build_tiny("fp32"), samples, threads=1)


def test_the_embedded_model_is_good_enough_to_compare_precisions(fp32: Answers) -> None:
    assert fp32.accuracy > 0.8


def test_fp16_says_what_fp32_says(
    fp32: Answers, build_tiny: Callable[[str], Path], samples: list[HeldOutSample]
) -> None:
    assert ask(build_tiny("fp16"), samples, threads=1).same_tokens(fp32) >= 0.95


@pytest.mark.parametrize(("precision", "points"), [("int8", 1), ("int4", 3)])
def test_quantised_weights_cost_few_points(
    fp32: Answers, build_tiny: Callable[[str], Path], samples: list[HeldOutSample], precision: str, points: int
) -> None:
    accuracy = ask(build_tiny(precision), samples, threads=1).accuracy
    assert accuracy >= fp32.accuracy - points * POINT, f"{accuracy} against {fp32.accuracy}"
