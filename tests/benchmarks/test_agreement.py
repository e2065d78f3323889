"""Nobody is timed, ours neither, whose outputs are not the reference's; and what is compared with what."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from benchmarks import curves, measure, pictures, scaled, speed
from benchmarks.agreement import Disagrees, check, opened, reference_outputs
from benchmarks.floors import Shape
from benchmarks.gates import processes
from benchmarks.gates import speed as gates
from benchmarks.peers.table import REFERENCE
from benchmarks.shapes import QWEN2_0_5B, SO400M
from tests.benchmarks.fakes import PEER, FakeSetting

OURS = "ours int4"
SHAPE = Shape(tower=SO400M, language=QWEN2_0_5B)


def quiet(_: str) -> None:
    pass


TIMED: dict[str, Callable[[Any], Any]] = {
    "encode": partial(gates.encode, ours=OURS, peer=PEER),
    "prefill": partial(gates.prefill, peer=PEER),
    "decode": partial(gates.decode, peer=PEER),
    "copy": partial(gates.copy, peer=PEER),
    "context": partial(gates.context, long=4000),
    "first token": partial(gates.first_token, peer=PEER),
    "memory": partial(processes.answer_peak, ours=OURS, peer=PEER),
    "opening": partial(processes.opening, ours=OURS, peer=PEER),
    "pictures": lambda setting: pictures.answers(setting, 3, SHAPE, quiet, (OURS, PEER)),
    "curves": lambda setting: list(curves.measure(setting, OURS, 3, quiet)),
    "context curve": lambda setting: curves.over_context(setting, [OURS, PEER], 3),
    "scaled": scaled.measure,
}


@pytest.fixture
def setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSetting:
    monkeypatch.setattr(measure, "PAUSE_S", 0.0)
    return FakeSetting(folder=tmp_path, threads=1, rounds=3)


@pytest.mark.parametrize("wrong", ["features", "logits", "resumed"])
@pytest.mark.parametrize("name", TIMED)
def test_ours_is_not_timed_where_it_is_wrong(setting: FakeSetting, name: str, wrong: str) -> None:
    """`resumed` is what comes after going back to a context, as before every turn of decoding."""
    setting.wrong[OURS] = wrong
    with pytest.raises(Disagrees, match=OURS):
        TIMED[name](setting)
    assert not setting.timed


@pytest.mark.parametrize("name", [name for name in TIMED if name not in ("context", "scaled", "curves")])
def test_a_peer_is_not_timed_where_it_is_wrong(setting: FakeSetting, name: str) -> None:
    setting.wrong[PEER] = "logits"
    with pytest.raises(Disagrees, match=PEER):
        TIMED[name](setting)
    assert not setting.timed


@pytest.mark.parametrize("name", [name for name in TIMED if name != "curves"])
def test_who_agrees_is_timed(setting: FakeSetting, name: str) -> None:
    TIMED[name](setting)
    assert (OURS, PEER)[: 1 + (name not in ("context", "scaled"))] == tuple(
        dict.fromkeys(who for who, _ in setting.timed)
    ) or name == "opening"


def test_in_the_report_ours_that_is_wrong_is_told_and_not_timed(setting: FakeSetting) -> None:
    reference = reference_outputs(setting)
    setting.wrong[OURS] = "logits"
    ((rows, told),) = speed.against_all(setting, [PEER], reference, SHAPE, quiet)
    assert not rows and not setting.timed
    assert [(one.peer, "not timed" in one.reason) for one in told] == [(PEER, False), (OURS, True)]


def test_the_reference_is_kept_for_as_long_as_the_weights_are_the_same(setting: FakeSetting) -> None:
    first = reference_outputs(setting)
    again = reference_outputs(setting)
    assert setting.opened == [REFERENCE] and (first.logits_KV == again.logits_KV).all()  # type: ignore[union-attr]
    reference_outputs(dataclasses.replace(setting, key="others"))
    assert setting.opened == [REFERENCE] * 2


def test_checking_opens_processes_of_its_own(setting: FakeSetting) -> None:
    check(setting, (OURS, PEER))
    assert setting.opened == [REFERENCE, OURS, PEER] and not setting.timed


def test_the_worker_that_is_timed_is_the_one_that_was_compared(setting: FakeSetting) -> None:
    with opened(setting, OURS) as worker:
        assert worker.ask("prefill", tokens=1) == 1.0
    assert setting.opened == [REFERENCE, OURS]
