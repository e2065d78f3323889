"""Turns, spreads and agreement."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks import measure
from benchmarks.agreement import Agreement, Outputs, compare, normed, worst_cosine
from benchmarks.measure import short, spread, take_turns, times_faster


def test_turns_alternate_and_the_first_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "PAUSE_S", 0.0)
    said: list[str] = []

    def turn(name: str) -> float:
        said.append(name)
        return float(len(said))

    found = take_turns({"a": lambda: turn("a"), "b": lambda: turn("b")}, rounds=2, warm_up=1)
    assert said == list("ababab")
    assert found == {"a": [3, 5], "b": [4, 6]}


def test_spread() -> None:
    found = spread([4, 1, 3, 2, 5])
    assert (found.low, found.median, found.high) == (2, 3, 4)
    assert str(spread([1234.5])) == "1,234 (1,234 to 1,234)"


def test_ratios_are_of_rounds_and_not_of_medians() -> None:
    """In the second round the machine was ten times slower for both."""
    assert times_faster([1, 10, 1], [2, 20, 2]).median == 2
    with pytest.raises(ValueError, match="longer"):
        times_faster([1], [1, 2])


@pytest.mark.parametrize(("value", "text"), [(1234.6, "1,235"), (56.78, "56.8"), (0.01234, "0.0123"), (-250, "-250")])
def test_three_digits(value: float, text: str) -> None:
    assert short(value) == text


def test_worst_cosine_is_of_the_worst_row() -> None:
    one = np.array([[1, 0], [1, 1]], np.float32)
    assert worst_cosine(one, one) == pytest.approx(1)
    assert worst_cosine(one, np.array([[1, 0], [1, 0]], np.float32)) == pytest.approx(math.sqrt(0.5))
    assert worst_cosine(one, one[:1]) == -1


def test_a_last_norm_makes_no_difference() -> None:
    features = np.random.default_rng(0).standard_normal((1, 9, 16)).astype(np.float32)
    np.testing.assert_allclose(normed(3 * features + 1), normed(features), atol=1e-5)


@pytest.mark.parametrize("value", [math.nan, 0.5])
def test_what_is_no_number_or_too_far_does_not_agree(value: float) -> None:
    assert not Agreement(features=None, logits=value, least=0.9).reached
    assert not Agreement(features=value, logits=1.0, least=0.9).reached
    assert Agreement(features=None, logits=0.95, least=0.9).reached


def test_nothing_compared_is_no_agreement() -> None:
    nothing = Outputs(features_NPD=None, logits_KV=None)
    assert not compare(nothing, nothing, "fp32").reached


def test_logits_that_are_not_numbers_do_not_agree() -> None:
    good = Outputs(features_NPD=None, logits_KV=np.ones((2, 3), np.float32))
    bad = Outputs(features_NPD=None, logits_KV=np.full((2, 3), np.nan, np.float32))
    assert not compare(bad, good, "int4").reached
