"""`python -m benchmarks`: what it writes, and that one peer's failure is told and not raised. Nothing is measured."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import __main__ as command
from benchmarks import measure, scaled, speed
from benchmarks.agreement import Outputs
from benchmarks.limits import Limits
from benchmarks.report import Report
from benchmarks.setting import NotInstalled, Setting
from benchmarks.shapes import SHAPES
from benchmarks.speed import WORKS, Told

LOGITS_KV = np.eye(3, dtype=np.float32)
REFERENCE = Outputs(features_NPD=None, logits_KV=LOGITS_KV)
PEER = "llama.cpp Q4_0"


class FakeWorker:
    """One millisecond for whatever it is asked, twice as much for a peer."""

    abilities = frozenset({"logits", "prefill", "decode"})

    def __init__(self, name: str, logits_KV: np.ndarray) -> None:
        self._name, self._logits_KV = name, logits_KV

    def ask(self, call: str, **_: Any) -> Any:
        if call == "logits":
            return self._logits_KV
        return {"library": "1"} if call == "versions" else 1.0 + (self._name == PEER)


class FakeSetting(Setting):
    """Opens fakes, of which the peer gives `logits_KV`; none at all if that is None."""

    logits_KV: np.ndarray | None = LOGITS_KV

    @contextmanager
    def worker(self, name: str) -> Iterator[Any]:
        if self.logits_KV is None and name == PEER:
            raise NotInstalled("llama_cpp is not installed: make bench-peers")
        yield FakeWorker(name, LOGITS_KV if self.logits_KV is None or name != PEER else self.logits_KV)


@pytest.fixture
def setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSetting:
    monkeypatch.setattr(measure, "PAUSE_S", 0.0)
    return FakeSetting(folder=tmp_path, threads=1, rounds=3)


def floor(work: str, size: int, precision: str) -> float:
    return 0.5


def test_pairs_have_a_row_each(setting: FakeSetting) -> None:
    rows, told = speed.against_ours(setting, PEER, REFERENCE, floor)
    works = [work.name for work in WORKS if work.ability in FakeWorker.abilities]
    assert [(row.work, row.contestant) for row in rows] == [
        (work, name) for work in works for name in ("ours int4", PEER)
    ]
    mine, theirs = rows[:2]
    assert mine.times_faster is not None and mine.times_faster.median == 2 and theirs.times_faster is None
    assert (mine.times_floor, theirs.times_floor) == (2, 4) and told.agreement is not None


def test_who_does_not_agree_is_not_timed(setting: FakeSetting) -> None:
    object.__setattr__(setting, "logits_KV", -LOGITS_KV)
    rows, told = speed.against_ours(setting, PEER, REFERENCE, floor)
    assert not rows and "not timed" in told.reason and told.agreement is not None


def test_who_is_not_installed_is_told(setting: FakeSetting) -> None:
    object.__setattr__(setting, "logits_KV", None)
    found = list(speed.against_all(setting, [PEER], REFERENCE, floor, lambda _: None))
    assert found == [([], Told(peer=PEER, reason="llama_cpp is not installed: make bench-peers"))]


def test_the_report_is_written_as_it_grows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def part(setting: Setting, peers: Sequence[str], report: Report) -> Iterator[Report]:
        yield replace(report, scaled={"one": 1.0})
        assert json.loads((tmp_path / "report" / "report.json").read_text())["scaled"] == {"one": 1.0}
        yield replace(report, scaled={"one": 1.0, "two": 2.0})

    limits = Limits(device="cpu", read_gb_per_s=1.0, gop_per_s={"fp32": 1.0})
    monkeypatch.setattr(command, "measured_limits", lambda threads: limits)
    monkeypatch.setattr(command, "_PARTS", {"scaled": part})
    assert command.main(["--parts", "scaled", "--folder", str(tmp_path), "--threads", "1"]) == 0
    assert set(json.loads((tmp_path / "report" / "report.json").read_text())["scaled"]) == {"one", "two"}
    assert "| two | 2 ms |" in capsys.readouterr().out


def test_a_large_shape_is_told_from_one_and_two_layers(setting: FakeSetting) -> None:
    """The fakes take as long for one layer as for two, so that all layers take no longer."""
    found = scaled.measure(setting)
    assert set(found.values()) == {1.0} and len(found) == 2
    assert {scaled.ONE, scaled.TWO} <= set(SHAPES)
