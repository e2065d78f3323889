"""`python -m benchmarks`: what it writes, and that one peer's failure is told and not raised. Nothing is measured."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import __main__ as command
from benchmarks import measure, scaled, speed
from benchmarks.agreement import Outputs
from benchmarks.floors import Shape
from benchmarks.limits import Limits
from benchmarks.report import Report
from benchmarks.setting import Setting
from benchmarks.shapes import QWEN2_0_5B, SHAPES, SO400M
from benchmarks.speed import WORKS, Told
from benchmarks.worker import WorkerFailed
from tests.benchmarks.fakes import LOGITS_KV, PEER, FakeSetting, FakeWorker

REFERENCE = Outputs(features_NPD=None, logits_KV=LOGITS_KV)
SHAPE = Shape(tower=SO400M, language=QWEN2_0_5B)


@pytest.fixture
def setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSetting:
    monkeypatch.setattr(measure, "PAUSE_S", 0.0)
    return FakeSetting(folder=tmp_path, threads=1, rounds=3)


def against(setting: FakeSetting) -> tuple[list[speed.Row], list[Told]]:
    ((rows, told),) = speed.against_all(setting, [PEER], REFERENCE, SHAPE, lambda _: None)
    return rows, told


def test_pairs_have_a_row_each(setting: FakeSetting) -> None:
    rows, told = against(setting)
    works = [work.name for work in WORKS if work.ability in FakeWorker.abilities]
    assert [(row.work, row.contestant) for row in rows] == [
        (work, name) for work in works for name in ("ours int4", PEER)
    ]
    mine, theirs = rows[:2]
    assert mine.times_faster is not None and mine.times_faster.median == 2 and theirs.times_faster is None
    assert (mine.precision, theirs.precision, mine.device, mine.threads) == ("int4", "q4_0", "cpu", 1)
    assert [one.agreement is not None for one in told] == [True, True]


def test_who_does_not_agree_is_not_timed(setting: FakeSetting) -> None:
    setting.wrong[PEER] = "logits"
    rows, told = against(setting)
    assert not rows and "not timed" in told[-1].reason and told[-1].agreement is not None


def test_who_is_not_installed_is_told(setting: FakeSetting) -> None:
    found = against(replace(setting, missing=PEER))
    assert found == ([], [Told(peer=PEER, reason=f"{PEER} is not installed: make bench-peers")])


def test_a_worker_that_dies_is_told(setting: FakeSetting, monkeypatch: pytest.MonkeyPatch) -> None:
    def dies(*_: object, **__: object) -> None:
        raise WorkerFailed("prefill: the process ended with 7")

    monkeypatch.setattr(speed, "take_turns", dies)
    rows, told = against(setting)
    assert not rows and told[-1].reason == "prefill: the process ended with 7"


def limits(read: float) -> Limits:
    return Limits(device="cpu", read_gb_per_s=read, gop_per_s={"fp32": 1.0})


def test_the_report_is_written_as_it_grows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Limits are measured before and after, and the best counts; a part that fails ends no other."""

    def part(setting: Setting, peers: Sequence[str], report: Report) -> Iterator[Report]:
        yield replace(report, weights="one")
        assert json.loads((tmp_path / "report" / "report.json").read_text())["weights"] == "one"
        yield replace(report, weights="two")
        raise RuntimeError("no room")

    def other(setting: Setting, peers: Sequence[str], report: Report) -> Iterator[Report]:
        yield replace(report, weights=f"{report.weights}, three")

    measured = iter([limits(20.0), limits(30.0), limits(25.0)])
    monkeypatch.setattr(command, "measured_limits", lambda setting: next(measured))
    monkeypatch.setattr(command, "_PARTS", {"pictures": part, "scaled": other})
    assert command.main(["--parts", "pictures", "scaled", "--folder", str(tmp_path), "--threads", "1"]) == 1
    raw = json.loads((tmp_path / "report" / "report.json").read_text())
    assert raw["weights"] == "two, three" and raw["failed"] == ["pictures: no room"]
    assert raw["limits"]["read_gb_per_s"] == 30.0 and raw["limits"]["apart"] == ["reading: 20 to 30 in 3 times"]
    assert "**Not measured**: pictures: no room" in (out := capsys.readouterr().out) and "20 to 30" in out


def test_the_device_is_carried_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def part(setting: Setting, peers: Sequence[str], report: Report) -> Iterator[Report]:
        asked.append(setting.device)
        yield report

    monkeypatch.setattr(command, "measured_limits", lambda setting: asked.append(setting.device) or limits(1.0))
    monkeypatch.setattr(command, "_PARTS", {"scaled": part})
    command.main(["--parts", "scaled", "--folder", str(tmp_path), "--device", "cuda"])
    assert set(asked) == {"cuda"}
    assert json.loads((tmp_path / "report" / "report.json").read_text())["machine"]["device"] == "cuda"


def test_a_large_shape_is_told_from_one_and_two_layers(setting: FakeSetting) -> None:
    """The fakes take as long for one layer as for two, so that all layers take no longer."""
    found = scaled.measure(setting)
    assert {row.ms.median for row in found} == {1.0} and len(found) == 2
    assert all(
        row.rounds == 3 and row.precision == "int4" and row.need.floor_ms("int4", limits(1.0)) > 0 for row in found
    )
    assert {scaled.ONE, scaled.TWO} <= set(SHAPES)
