"""Bounds, rows and results of gates; nothing is measured."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from benchmarks import measure
from benchmarks.gates import __main__ as command
from benchmarks.gates import results
from benchmarks.gates.gate import Gate, Measured
from benchmarks.gates.table import GATES
from benchmarks.measure import spread
from benchmarks.peers.table import CONTESTANTS
from benchmarks.setting import NotInstalled, Setting
from ovkernels.abi import Unavailable
from tests.benchmarks.fakes import FakeSetting


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


def test_rows(setting: Setting) -> None:
    measured = Measured.of(spread([1.0, 1.5, 2.0]), "10 ms against 15 ms", 3, {"ours int4": {"onnxruntime": "1"}})
    assert results.row(results.entry(gate(at_least=1.2), setting, measured)) == (
        "| work | a peer | ≥ 1.2 | 1.5 (1.25 to 1.75) | reached | 3 | 10 ms against 15 ms |"
    )
    assert "| ≤ 1.2 | 1.5 (1.25 to 1.75) | **missed** |" in results.row(
        results.entry(gate(at_most=1.2), setting, measured)
    )


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


@pytest.mark.parametrize(
    "error",
    [
        NotInstalled("llama_cpp is not installed: make bench-peers"),
        FileNotFoundError("no such file: c++"),
        RuntimeError("the build failed"),
        subprocess.CalledProcessError(1, ["c++"]),
        Unavailable("the library is not compiled"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_gate_that_fails_is_not_reached_and_ends_no_other(
    error: Exception, setting: Setting, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def measure(_: Setting) -> Measured:
        raise error

    failing = Gate(what="work", against="a peer", at_least=1, measure=measure)
    monkeypatch.setattr(command, "GATES", {"one": failing, "two": gate(3.0, at_least=2)})
    assert command.main(["--folder", str(setting.folder)]) == 1
    found = results.read(setting.folder)
    assert [found[name]["reached"] for name in ("one", "two")] == [False, True]
    assert "not measured" in (out := capsys.readouterr().out) and str(error) in out


def test_results_of_other_gates_keep_on_what_they_were_measured(
    setting: Setting, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run of one gate says nothing of the machine, commit and versions that the others were measured on."""
    monkeypatch.setattr(command, "GATES", {"one": gate(3.0, at_least=2), "two": gate(1.0, at_least=2)})
    words = ["--folder", str(setting.folder), "--rounds", "4"]
    monkeypatch.setattr(results, "versions", lambda: {"onnxruntime": "1.31", "commit": "aaaa"})
    assert command.main(["two", *words, "--threads", "1"]) == 1
    monkeypatch.setattr(results, "versions", lambda: {"onnxruntime": "1.32", "commit": "bbbb + changes"})
    assert command.main(["one", *words, "--threads", "2"]) == 0
    found = results.read(setting.folder)
    assert {name: entry["reached"] for name, entry in found.items()} == {"one": True, "two": False}
    assert {name: entry["machine"]["threads"] for name, entry in found.items()} == {"one": 2, "two": 1}
    assert {name: entry["commit"] for name, entry in found.items()} == {"one": "bbbb + changes", "two": "aaaa"}
    assert found["two"]["measured_by"] == {"onnxruntime": "1.31"} and found["two"]["date"]
    assert found["one"]["detail"] == "4 rounds"
    capsys.readouterr()
    assert command.main(["--table", *words]) == 0
    table = capsys.readouterr().out.splitlines()
    assert table[2].startswith("| work | a peer | ≥ 2 | 3 |") and "**missed**" in table[3]
    assert "commit bbbb + changes" in table[5] and table[5].startswith("- one:") and "1 threads" in table[6]


def test_what_was_measured_without_telling_on_what_is_not_shown(setting: Setting) -> None:
    (setting.folder / results.FILE).write_text('{"machine": {}, "versions": {}, "gates": {"one": {"value": 1.0}}}')
    table = results.as_markdown(setting.folder, ["one"], {"one": gate(at_least=2)})
    assert "never run here" in table


def test_gates_tell_the_versions_of_both_sides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "PAUSE_S", 0.0)
    fakes = FakeSetting(folder=tmp_path, threads=1, rounds=1)
    for name, least in (("decode-llama-cpp", 3), ("first-token", 3), ("memory", 3), ("opening", 3), ("lookup", 3)):
        measured = GATES[name].measure(fakes)
        assert len(measured.versions) == 2 and measured.rounds >= least


def test_the_first_round_of_an_answer_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "PAUSE_S", 0.0)
    fakes = FakeSetting(folder=tmp_path, threads=1, rounds=1)
    GATES["first-token"].measure(fakes)
    assert fakes.timed.count(("ours int4", "answer")) == 1 + 3


def test_memory_is_of_three_fresh_processes_a_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "PAUSE_S", 0.0)
    fakes = FakeSetting(folder=tmp_path, threads=1, rounds=7)
    GATES["memory"].measure(fakes)
    assert [fakes.timed.count((name, "answer")) for name in ("ours int4", "transformers")] == [3, 3]


def test_an_unknown_gate_is_told() -> None:
    with pytest.raises(SystemExit, match="no gate speeed"):
        command.main(["speeed"])


def test_gates_name_contestants_that_exist() -> None:
    named = [str(value) for entry in GATES.values() for value in getattr(entry.measure, "keywords", {}).values()]
    assert {name for name in named if name.startswith(("ours", "llama", "onnx"))} <= set(CONTESTANTS)
