"""Metrics against other people's arithmetic; table, JSON and HTML of a report."""

from __future__ import annotations

import dataclasses
import json
import platform
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from verify_bundles import RandomCheckpoint, make_bundle

from ovengines.errors import ExitCode, OVError
from ovexport.verify.compare import verify_bundle
from ovexport.verify.metrics import HISTOGRAM_EDGES, measure
from ovexport.verify.reference import Reference
from ovexport.verify.report import AnswerRow, Report, write_report

VOID = {"meta", "link", "br", "img", "hr", "input"}


@pytest.fixture(scope="module")
def report(
    tmp_path_factory: pytest.TempPathFactory,
    checkpoints: Callable[[int], RandomCheckpoint],
    references: Callable[[int, str], Reference],
) -> Report:
    folder = tmp_path_factory.mktemp("report") / "bundle"
    return verify_bundle(make_bundle(checkpoints(0), folder, "int4"), references(0, "int4"), threads=1)


def broken(report: Report) -> Report:
    """The same report with one row not finite, one past its limits, one answer good and one bad."""
    first, second, *others = report.rows
    nan = np.full((2, 3), np.nan, np.float32)
    first = dataclasses.replace(first, metrics=measure(nan, nan))
    second = dataclasses.replace(second, tolerance=dataclasses.replace(second.tolerance, max_error=1e-6))
    answer = AnswerRow(
        sample="<script>alert(1)</script>", precision="int4", equal=3, same_choice=5, total=8, gap=0.01, limit=0.1
    )
    answers = (answer, dataclasses.replace(answer, sample="bad", gap=0.9))
    return dataclasses.replace(report, rows=(first, second, *others)).with_answers(answers)


class Page(HTMLParser):
    """Checks nesting, collects tags, attributes and text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)
        self.close()
        assert not self.open, f"left open: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize("seed", range(20))
def test_metrics_agree_with_torch(seed: int) -> None:
    rng = np.random.default_rng(seed)
    wanted = rng.standard_normal((int(rng.integers(1, 9)), int(rng.integers(1, 40))), np.float32)
    actual = wanted + 10 ** rng.uniform(-6, 0) * rng.standard_normal(wanted.shape, np.float32)
    metrics = measure(actual, wanted, are_logits=True)
    a, w = torch.from_numpy(actual).double(), torch.from_numpy(wanted).double()
    error = (a - w).abs() / w.abs().max()
    assert metrics.max_error == pytest.approx(float(error.max()), rel=1e-4), seed
    assert metrics.mean_error == pytest.approx(float(error.mean()), rel=1e-4), seed
    assert metrics.rms_error == pytest.approx(float((a - w).norm() / w.norm()), rel=1e-4), seed
    cosine = torch.nn.functional.cosine_similarity(a, w, dim=-1).min()
    assert metrics.min_cosine == pytest.approx(float(cosine), abs=1e-6), seed
    assert metrics.argmax_agreement == pytest.approx(float((a.argmax(-1) == w.argmax(-1)).double().mean())), seed
    edges = torch.tensor(HISTOGRAM_EDGES, dtype=torch.float64)
    inside = error.clamp(10 ** HISTOGRAM_EDGES[0], 10 ** HISTOGRAM_EDGES[-1]).log10()
    assert list(metrics.histogram) == torch.histogram(inside, edges).hist.int().tolist(), seed


def test_metrics_of_equal_zero_and_infinite_arrays() -> None:
    zeros = np.zeros((3, 4), np.float32)
    same = measure(zeros, zeros)
    assert (same.max_error, same.rms_error, same.min_cosine) == (0, 0, 1)
    assert same.histogram[0] == same.values == 12
    for bad in (np.inf, -np.inf, np.nan):
        spoiled = zeros.copy()
        spoiled[1, 2] = bad
        for pair in ((spoiled, zeros), (zeros, spoiled)):
            metrics = measure(*pair)
            assert metrics.not_finite == 1 and metrics.max_error is None and sum(metrics.histogram) == 0
    with pytest.raises(ValueError, match="shapes differ"):
        measure(zeros, zeros[:2])


def test_table_is_aligned_and_says_pass_or_fail(report: Report) -> None:
    first, *rows, judged, told = report.table().splitlines()
    assert judged.startswith("Judged") and told.startswith("Told")
    assert len(rows) == len(report.rows) and all(line.endswith("PASS") for line in rows)
    assert {line.rindex("PASS") for line in rows} == {len(rows[0]) - 4}
    assert first.startswith("stage") and max(map(len, rows)) <= 120
    table = broken(report).table()
    assert table.count("FAIL") == 3 and table.count("PASS") == len(report.rows) - 1


def test_worst_row_is_named(report: Report) -> None:
    report.raise_if_failed()
    with pytest.raises(OVError, match="vision: 12 values are not finite") as caught:
        broken(report).raise_if_failed()
    assert caught.value.code == ExitCode.PARITY_FAILED == 8 and caught.value.hint
    past_limit = dataclasses.replace(report, rows=broken(report).rows[1:])
    with pytest.raises(OVError, match=r"1 of 7 .* the worst is projector: max error .* \(limit 1e-06\)"):
        past_limit.raise_if_failed()


@pytest.mark.parametrize("spoil", [False, True])
def test_json_is_strict_and_complete(report: Report, spoil: bool, tmp_path: Path) -> None:
    report = broken(report) if spoil else report
    write_report(report, tmp_path)

    def refuse(text: str) -> None:
        raise AssertionError(f"{text} is no JSON")

    parsed = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"), parse_constant=refuse)
    assert parsed["passed"] is report.passed is not spoil
    assert [row["passed"] for row in parsed["rows"]] == [row.passed for row in report.rows]
    assert len(parsed["histogram_log10_edges"]) == len(parsed["rows"][0]["metrics"]["histogram"]) + 1
    assert parsed["subject"]["precision"] == "int4" and "numpy" in parsed["versions"]
    assert [row["sample"] for row in parsed["answers"]] == [row.sample for row in report.answers]


@pytest.mark.parametrize("spoil", [False, True])
def test_page_is_well_formed_self_contained_and_escaped(report: Report, spoil: bool, tmp_path: Path) -> None:
    report = broken(report) if spoil else report
    write_report(report, tmp_path)
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    page = Page(html)
    assert not re.search(r"https?:|//|url\(|@import", html), "a page that needs nothing from elsewhere"
    tags = [tag for tag, _ in page.seen]
    assert not {"script", "link", "img", "iframe"} & set(tags)
    assert not any(name in attrs for _, attrs in page.seen for name in ("src", "href", "onload"))
    assert tags.count("svg") == len(report.rows)
    assert "random <b>model</b>" in page.text and "<b>model" not in html
    for row in (*report.rows, *report.answers):
        assert row.stage.removeprefix("answer to ") in page.text
    verdict = next(i for i, (_, attrs) in enumerate(page.seen) if "verdict" in (attrs.get("class") or ""))
    assert page.seen[verdict][1]["class"] == f"verdict {'pass' if report.passed else 'fail'}"


def test_drawing_shows_every_bin_with_values_and_nothing_outside(report: Report, tmp_path: Path) -> None:
    write_report(report, tmp_path)
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    bars = [attrs for tag, attrs in page.seen if tag == "rect"]
    assert len(bars) == sum(count > 0 for row in report.rows for count in row.metrics.histogram)
    width, height = map(int, next(a["viewbox"] for t, a in page.seen if t == "svg").split()[2:])  # type: ignore[union-attr]
    for bar in bars:
        x, y, w, h = (float(bar[name] or "nan") for name in ("x", "y", "width", "height"))
        assert x >= 0 and x + w <= width and y >= 0 and y + h <= height and w > 0 and h > 0
    assert "beyond" not in {part for bar in bars for part in (bar["class"] or "").split()}


def test_report_names_no_machine(report: Report, tmp_path: Path) -> None:
    write_report(report, tmp_path)
    for name in ("report.json", "report.html"):
        text = (tmp_path / name).read_text(encoding="utf-8")
        for private in (platform.node(), f"{Path.home()}/", str(tmp_path), platform.release()):
            assert len(private) < 4 or private not in text, private
