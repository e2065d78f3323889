"""Bounds, rows and results of gates; nothing is measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.gates import __main__ as command
from benchmarks.gates.gate import Gate, Measured
from benchmarks.gates.table import GATES
from benchmarks.measure import spread
from benchmarks.peers.table import CONTESTANTS
from benchmarks.setting import NotInstalled, Setting


def gate(value: float = 1.0, *, at_least: float | None = None, at_most: float | None = None) -> Gate:
    return Gate(
        what="work",
        against="a peer",
        at_least=at_least,
        at_most=at_most,
        measure=lambda setting: Measured(value=value, detail=f"{setting.rounds} rounds"),
    )


@pytest.fixture
def setting(tmp_path: Path) -> Setting:
    return Setting(folder=tmp_path, threads=1, rounds=2)


@pytest.mark.parametrize(("value", "reached"), [(1.99, False), (2.0, True), (2.01, True)])
def test_at_least(value: float, reached: bool) -> None:
    assert gate(at_least=2).is_reached(value) is reached


@pytest.mark.parametrize(("value", "reached"), [(0.29, True), (0.3, True), (0.31, False)])
def test_at_most(value: float, reached: bool) -> None:
    assert gate(at_most=0.3).is_reached(value) is reached


@pytest.mark.parametrize("bound", [gate(at_least=1), gate(at_most=1)])
def test_what_is_no_number_is_not_reached(bound: Gate) -> None:
    assert not bound.is_reached(float("nan"))


def test_one_bound_and_one_only() -> None:
    with pytest.raises(AssertionError):
        gate()
    with pytest.raises(AssertionError):
        gate(at_least=1, at_most=2)


def test_rows() -> None:
    measured = Measured.of(spread([1.0, 1.5, 2.0]), "10 ms against 15 ms")
    assert gate(at_least=1.2).row(measured) == (
        "| work | a peer | ≥ 1.2 | 1.5 (1.25 to 1.75) | reached | 10 ms against 15 ms |"
    )
    assert "| ≤ 1.2 | 1.5 (1.25 to 1.75) | **missed** |" in gate(at_most=1.2).row(measured)


def test_the_bounds_that_were_asked_for() -> None:
    assert {name: entry.bound for name, entry in GATES.items() if name in _ASKED} == _ASKED


_ASKED = {
    "encode": "≥ 1.8",
    "encode-fp32": "≥ 1.2",
    "prefill-llama-cpp": "≥ 1.1",
    "prefill-genai": "≥ 1.3",
    "decode": "≥ 5",
    "decode-llama-cpp": "≥ 1",
    "decode-genai": "≥ 1.5",
    "lookup": "≥ 2",
    "context": "≤ 2.2",
    "context-7000": "≤ 2.3",
    "first-token": "≥ 1.7",
    "memory": "≤ 0.3",
    "opening": "≥ 5",
    "preprocess": "≥ 3",
    "build-0.5b": "≤ 2.2",
    "build-7b": "≤ 2.2",
}


def test_a_peer_that_is_not_there_is_no_gate_reached(setting: Setting, capsys: pytest.CaptureFixture[str]) -> None:
    def measure(_: Setting) -> Measured:
        raise NotInstalled("llama_cpp is not installed: make bench-peers")

    found = command.run(Gate(what="work", against="a peer", at_least=1, measure=measure), setting)
    assert found["reached"] is False
    assert "not measured" in (out := capsys.readouterr().out) and "make bench-peers" in out


def test_results_of_other_gates_are_kept(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "GATES", {"one": gate(3.0, at_least=2), "two": gate(1.0, at_least=2)})
    words = ["--folder", str(setting.folder), "--rounds", "4"]
    assert command.main(["two", *words]) == 1
    assert command.main(["one", *words]) == 0
    written = json.loads((setting.folder / "gates.json").read_text())
    assert {name: found["reached"] for name, found in written["gates"].items()} == {"one": True, "two": False}
    assert written["gates"]["one"]["detail"] == "4 rounds" and written["machine"]["threads"]


def test_an_unknown_gate_is_told() -> None:
    with pytest.raises(SystemExit, match="no gate speeed"):
        command.main(["speeed"])


def test_gates_name_contestants_that_exist() -> None:
    named = [str(value) for entry in GATES.values() for value in getattr(entry.measure, "keywords", {}).values()]
    assert {name for name in named if name.startswith(("ours", "llama", "onnx"))} <= set(CONTESTANTS)
