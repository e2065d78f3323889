"""`ovrun bench` on the embedded model: a table or an object, and no sooner errors than needed."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from ovrun.cli import main


def test_table(tiny_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "-m", str(tiny_bundle), "--seconds", "0.1", "--threads", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("ov-tiny, fp32, ") and lines[0].endswith("1 threads")
    stages = [line.split()[0] for line in lines[2:]]
    assert stages[:6] == ["stage", "load", "preprocess", "encode", "project", "prefill"]
    assert "decode" in stages and stages[-1] == "memory"


def test_json(tiny_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "-m", str(tiny_bundle), "--seconds", "0.1", "--json", "-q"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {"model", "precision", "engine", "threads", "load_ms", "memory_mb", "stages", "versions"} <= set(told)
    assert 1 <= told["threads"] <= (os.cpu_count() or 1)  # what is taken where nothing is asked for
    for stage in told["stages"]:
        assert 0 < stage["low_ms"] <= stage["ms"] <= stage["high_ms"] and stage["rounds"] >= 1


def test_no_time_is_wrong_usage(tiny_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "-m", str(tiny_bundle), "--seconds", "0"]) == 2
    assert "--seconds is 0" in capsys.readouterr().err


def test_a_bundle_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "-m", str(tmp_path / "none")]) == 5
    assert "error" in capsys.readouterr().err
