"""The report of made-up figures: tables, JSON and plots."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.agreement import Agreement
from benchmarks.curves import CONTEXT, Curve
from benchmarks.floors import Need
from benchmarks.limits import Limits
from benchmarks.measure import Spread, spread
from benchmarks.pictures import STAGES, Answer
from benchmarks.plots import draw
from benchmarks.report import Report
from benchmarks.scaled import Scaled
from benchmarks.speed import Row, Told

PEER = "llama.cpp Q4_0"


def ran(contestant: str) -> dict[str, Any]:
    return {
        "contestant": contestant,
        "precision": "int4",
        "device": "cpu",
        "threads": 2,
        "versions": {"library": f"1.0 of {contestant}"},
    }


def row(contestant: str, beside: str, ms: float, faster: Spread | None) -> Row:
    return Row(
        **ran(contestant),
        work="decode-1000",
        beside=beside,
        size=1000,
        rounds=3,
        ms=spread([ms]),
        need=Need(bytes=200e6),  # 5 ms
        times_faster=faster,
    )


def answer(name: str, times: float) -> Answer:
    stages_ms = {stage: spread([100.0 * times]) for stage in STAGES}
    return Answer(
        **ran(name),
        tokens=2959,
        tiles=5,
        rounds=3,
        needs={"encode": Need(ops=20e9)},  # 50 ms
        stages_ms={**stages_ms, "first_token": spread([450.0 * times])},
        peak_mb=spread([1800.0 * times]),
        import_ms=spread([100.0]),
        open_ms=spread([1000.0]),
    )


def points(*values: float) -> tuple[Spread, ...]:
    return tuple(spread([value]) for value in values)


def curve_of_context(contestant: str) -> Curve:
    steps = (*points(10, 12), spread([10, 16, 30]))
    return Curve(
        **ran(contestant),
        name=CONTEXT,
        x_name="tokens of context",
        x=(500, 1000, 2000),
        rounds=(3, 3, 3),
        series={"step": steps},
    )


@pytest.fixture
def report() -> Report:
    tiles = dict.fromkeys((*STAGES, "first_token", "tokens"), points(1.0, 4.0, 9.0))
    return Report(
        machine={"processor": "a processor", "threads": 2},
        versions={"onnxruntime": "1.31"},
        weights="random, 0.5b shape",
        limits=Limits(device="cpu", read_gb_per_s=40.0, gop_per_s={"fp32": 400.0}),
        rows=[row("ours int4", PEER, 10.0, spread([2.0])), row(PEER, "ours int4", 20.0, None)],
        told=[
            Told(peer=PEER, agreement=Agreement(features=None, logits=0.86912, least=0.8)),
            Told(peer="openvino", reason="openvino is not installed: make bench-peers"),
        ],
        answers=[answer("ours int4", 1.0), answer("transformers", 3.0)],
        curves=[
            *(curve_of_context(name) for name in ("ours int4", PEER)),
            Curve(
                **ran("ours int4"),
                name="tiles",
                x_name="tiles of a picture",
                x=(1, 4, 9),
                rounds=(3, 3, 2),
                series=tiles,
            ),
        ],
        scaled=[
            Scaled(
                **ran("ours int4"),
                title="read 1,000 tokens",
                size=1000,
                rounds=3,
                ms=spread([123.4]),
                need=Need(ops=4e9),
            )
        ],
    )


def test_a_pair_is_a_line(report: Report) -> None:
    theirs, mine = f"{PEER} | int4 | 20 (20 to 20) | 4.0", "ours int4 | int4 | 10 (10 to 10) | 2.0"
    assert f"| 1,000 | 3 | {theirs} | {mine} | 2 (2 to 2) |" in report.as_markdown()


def test_who_was_not_timed_is_told(report: Report) -> None:
    text = report.as_markdown()
    assert "| openvino |  |  |  |  |  | openvino is not installed: make bench-peers |" in text
    assert "| llama.cpp Q4_0 |  | 0.99800 | 0.86912 |  | 0.80000 |  |" in text


def test_exponents_are_printed(report: Report) -> None:
    text = report.as_markdown()
    assert "| encode | 1 | 4 | 9 | 1.00 over tiles of a picture |" in text
    assert "| tokens | 1 | 4 | 9 |  |" in text and "| rounds | 3 | 3 | 2 |  |" in text
    assert "### Over tokens of context: llama.cpp Q4_0 (int4)" in text


def test_wide_quartiles_are_marked(report: Report) -> None:
    assert "| step | 10 | 12 | 16 (13 to 23) † |" in report.as_markdown()


def test_who_was_measured_is_on_the_page_with_device_threads_and_versions(report: Report) -> None:
    text = report.as_markdown()
    assert f"| {PEER} | int4 | cpu | 2 | library 1.0 of {PEER} |" in text
    assert "| ours int4 | int4 | cpu | 2 | library 1.0 of ours int4 |" in text


def test_stages_and_layers_have_floors(report: Report) -> None:
    text = report.as_markdown()
    assert "100 (100 to 100), 2.0 x floor" in text and "| 123 (123 to 123) | 12.3 |" in text


def test_floors_are_by_the_limits_as_they_end_up(report: Report) -> None:
    better = replace(report, limits=Limits(device="cpu", read_gb_per_s=80.0, gop_per_s={"fp32": 400.0}))
    assert better.times_floor(report.rows[0]) == 2 * report.times_floor(report.rows[0])


def test_limits_that_were_not_the_same_are_told(report: Report) -> None:
    apart = replace(report, limits_apart=["reading: 30 to 41 in 3 times"])
    assert "The machine was not left alone: reading: 30 to 41" in apart.as_markdown()
    assert "not left alone" not in report.as_markdown() and "float32; llama.cpp: float16" in report.as_markdown()


def test_settings_of_peers_and_limits_are_on_the_page(report: Report) -> None:
    text = report.as_markdown()
    assert "n_threads_batch" in text and "| reading | 40.0 GB/s |" in text and "| fp32 products | 400 GOP/s |" in text


def test_json_has_every_row_with_all_that_it_needs(report: Report) -> None:
    raw = json.loads(report.as_json())
    needed = {"device", "threads", "versions", "precision", "size", "ms", "rounds", "floor_ms", "times_floor"}
    assert all(needed <= set(entry) for entry in [*raw["rows"], *raw["scaled"]])
    everywhere = {"contestant", "device", "threads", "versions", "precision", "rounds"}
    assert all(everywhere <= set(entry) for entry in [*raw["answers"], *raw["curves"]])
    assert all(
        {"median", "low", "high"} == set(point) for entry in raw["curves"] for point in entry["series"].popitem()[1]
    )
    assert raw["rows"][0]["times_floor"] == 2.0 and raw["curves"][2]["exponents"]["encode"] == pytest.approx(1.0)


def test_parts_that_were_not_asked_for_are_left_out() -> None:
    limits = Limits(device="cpu", read_gb_per_s=1.0, gop_per_s={})
    text = Report(machine={}, versions={}, weights="none", limits=limits).as_markdown()
    assert text.count("##") == 1


def test_without_matplotlib_it_is_told(
    report: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert draw(report, tmp_path) == [] and "matplotlib is not installed" in capsys.readouterr().err


def test_notes_say_what_a_peer_does_beside_the_work(report: Report) -> None:
    told = replace(report, told=[Told(peer="optimum-onnx"), Told(peer="openvino")])
    assert told.as_markdown().count("logits of all positions") == 2


def test_plots_are_files_and_always_the_same(report: Report, tmp_path: Path) -> None:
    report.write(tmp_path)
    files = draw(report, tmp_path)
    assert {file.name for file in files} == {"first-token.svg", "memory.svg", "decode.svg", "tiles.svg"}
    before = [file.read_bytes() for file in files]
    assert [file.read_bytes() for file in draw(report, tmp_path)] == before
    assert {"report.json", "report.md"} <= {file.name for file in tmp_path.iterdir()}
