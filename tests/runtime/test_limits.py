"""The table of limits: values, environment variables, and what a refusal says."""

from __future__ import annotations

import pytest

from ovengines.errors import ExitCode, OVError
from ovrun.limits import LIMITS, check_limit, limit_value

RAISABLE = [name for name, limit in LIMITS.items() if limit.variable]


@pytest.mark.parametrize("name", LIMITS)
def test_refusal_names_limit_value_and_remedy(name: str) -> None:
    limit = LIMITS[name]
    check_limit(name, limit.default, "there are")
    with pytest.raises(OVError) as caught:
        check_limit(name, limit.default + 1, "there are")
    assert caught.value.code is ExitCode.LIMIT_EXCEEDED
    assert name in caught.value.message and f"{limit.default:,}" in caught.value.message
    assert f"{limit.default + 1:,}" in caught.value.message
    assert limit.variable in caught.value.hint and caught.value.hint


@pytest.mark.parametrize("name", RAISABLE)
def test_environment_moves_a_limit_both_ways(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = LIMITS[name]
    monkeypatch.setenv(limit.variable, str(limit.default * 2))
    check_limit(name, limit.default * 2, "there are")
    monkeypatch.setenv(limit.variable, "1")
    with pytest.raises(OVError):
        check_limit(name, 2, "there are")


@pytest.mark.parametrize("text", ["0", "-5", "many", "1e9", "1.5", "9" * 5000])
def test_senseless_environment_is_usage(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OV_MAX_IMAGES", text)
    with pytest.raises(OVError) as caught:
        limit_value("images")
    assert caught.value.code is ExitCode.USAGE
    assert "OV_MAX_IMAGES" in caught.value.message and len(caught.value.message) < 200


def test_empty_environment_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OV_MAX_IMAGES", "")
    assert limit_value("images") == LIMITS["images"].default


def test_variables_are_distinct() -> None:
    assert len({LIMITS[name].variable for name in RAISABLE}) == len(RAISABLE) == len(LIMITS) - 1
