"""`ovrun doctor` and `ovexport doctor`: a table, a JSON object, and an exit code for scripts."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from cli_outcome import Outcome, assert_refused

from ovengines.doctor import machine_facts
from ovengines.errors import ExitCode

Command = Callable[..., Outcome]


@pytest.fixture(params=["ovrun", "ovexport"])
def doctor(request: pytest.FixtureRequest) -> Command:
    command: Command = request.getfixturevalue(request.param)
    return lambda *words: command("doctor", *words)


def test_tells_everything(doctor: Command) -> None:
    outcome = doctor()
    assert (outcome.code, outcome.err) == (0, "")
    for fact in machine_facts():
        assert fact.name in outcome.out
    assert "--device cpu: ready" in outcome.out and "resizes pictures" in outcome.out


def test_as_json(doctor: Command) -> None:
    told = json.loads(doctor("--json").out)
    assert set(told) == {"machine", "devices"} and set(told["devices"]) == {"cpu", "cuda", "tensorrt"}
    assert told["devices"]["cpu"]["ready"] is True
    for device in told["devices"].values():
        assert device["ready"] == all(need["there"] for need in device["needs"])


def test_the_exit_code_is_of_the_device_asked_for(doctor: Command) -> None:
    assert doctor("--device", "cpu").code == 0
    ready = json.loads(doctor("--json").out)["devices"]
    for device in ("cuda", "tensorrt"):
        if not ready[device]["ready"]:
            outcome = doctor("--device", device, "--json")
            assert json.loads(outcome.out)["devices"][device]["ready"] is False
            assert outcome.code == ExitCode.MISSING_DEPENDENCY and "hint:" in outcome.err


def test_wrong_words(doctor: Command) -> None:
    assert_refused(doctor("--device", "abacus"), ExitCode.USAGE)
    assert_refused(doctor("patient.jpg"), ExitCode.USAGE)
