"""The report of made-up figures: tables, JSON and plots."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.agreement import Agreement
from benchmarks.curves import Curve
from benchmarks.limits import Limits
from benchmarks.measure import Spread, spread
from benchmarks.pictures import STAGES, Answer
from benchmarks.plots import draw
from benchmarks.report import Report
from benchmarks.speed import Row, Told

PEER = "llama.cpp Q4_0"


def row(contestant: str, beside: str, ms: float, faster: Spread | None) -> Row:
    return Row(
        work="decode-1000",
        contestant=contestant,
        beside=beside,
        precision="int4",
        size=1000,
        device="cpu",
        threads=2,
        rounds=3,
        versions={"library": "1.0"},
        ms=spread([ms]),
        floor_ms=5.0,
        times_faster=faster,
    )


def answer(name: str, times: float) -> Answer:
    stages_ms = {stage: spread([100.0 * times]) for stage in STAGES}
    return Answer(
        contestant=name,
        precision="int4",
        tokens=2959,
        stages_ms={**stages_ms, "first_token": spread([450.0 * times])},
        peak_mb=spread([1800.0 * times]),
        import_ms=spread([100.0]),
        open_ms=spread([1000.0]),
    )


@pytest.fixture
def report() -> Report:
    tiles = dict.fromkeys((*STAGES, "first_token", "tokens"), (1.0, 4.0, 9.0))
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
            Curve(name="context", x_name="tokens of context", x=(500, 1000, 2000), series={"step": (10, 12, 16)}),
            Curve(name="tiles", x_name="tiles of a picture", x=(1, 4, 9), series=tiles),
        ],
        scaled={"one token after 1,000": 123.4},
    )


def test_a_pair_is_a_line(report: Report) -> None:
    assert (
        "| llama.cpp Q4_0 | 20 (20 to 20) | 4.0 | ours int4 | 10 (10 to 10) | 2.0 | 2 (2 to 2) |"
        in report.as_markdown()
    )


def test_who_was_not_timed_is_told(report: Report) -> None:
    text = report.as_markdown()
    assert "| openvino |  |  |  | openvino is not installed: make bench-peers |" in text
    assert "| llama.cpp Q4_0 |  | 0.86912 | 0.80000 |  |" in text


def test_exponents_are_printed(report: Report) -> None:
    text = report.as_markdown()
    assert "| encode | 1 | 4 | 9 | 1.00 |" in text
    assert "| tokens | 1 | 4 | 9 |  |" in text


def test_settings_of_peers_and_limits_are_on_the_page(report: Report) -> None:
    text = report.as_markdown()
    assert "n_threads_batch" in text and "| reading | 40.0 GB/s |" in text and "| fp32 products | 400 GOP/s |" in text


def test_json_has_every_row_with_all_that_it_needs(report: Report) -> None:
    raw = json.loads(report.as_json())
    needed = {"device", "threads", "versions", "precision", "size", "ms", "rounds", "floor_ms", "times_floor"}
    assert all(needed <= set(entry) for entry in raw["rows"])
    assert raw["rows"][0]["times_floor"] == 2.0 and raw["curves"][1]["exponents"]["encode"] == pytest.approx(1.0)


def test_parts_that_were_not_asked_for_are_left_out() -> None:
    limits = Limits(device="cpu", read_gb_per_s=1.0, gop_per_s={})
    text = Report(machine={}, versions={}, weights="none", limits=limits).as_markdown()
    assert text.count("##") == 1


def test_plots_are_files_and_always_the_same(report: Report, tmp_path: Path) -> None:
    report.write(tmp_path)
    files = draw(report, tmp_path)
    assert {file.name for file in files} == {"first-token.svg", "memory.svg", "decode.svg", "tiles.svg"}
    before = [file.read_bytes() for file in files]
    assert [file.read_bytes() for file in draw(report, tmp_path)] == before
    assert {"report.json", "report.md"} <= {file.name for file in tmp_path.iterdir()}
