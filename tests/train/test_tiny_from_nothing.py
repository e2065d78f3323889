"""`make ov-tiny` on a two hundredth of the data: every stage runs from nothing, and a second run does nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ovexport.checkpoint import open_checkpoint
from ovexport.train.drawn.kinds import KINDS

STAGES = ("parts", "stage1", "stage1.5", "stage2-si", "stage2-ov")


def run(runs: Path) -> str:
    command = [
        sys.executable,
        "-m",
        "ovexport.train.tiny",
        "--runs",
        str(runs),
        "--scale",
        "0.005",
        "--per-family",
        "1",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1500)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.slow
def test_all_stages_from_nothing(tmp_path: Path) -> None:
    run(tmp_path)
    for stage in STAGES:
        assert open_checkpoint(tmp_path / "tiny" / stage / "checkpoint").config.language.num_layers > 0
    written = [json.loads((tmp_path / "tiny" / s / "checkpoint" / "training.json").read_text()) for s in STAGES[1:]]
    assert [each["stage"] for each in written] == list(STAGES[1:])
    shipped = tmp_path / "tiny" / "ov-tiny"
    families = {family.name for kind in KINDS.values() for family in kind.families}
    assert json.loads((shipped / "heldout.json").read_text())["families"].keys() == families | {"all"}
    weights = [tmp_path / "tiny" / stage / "checkpoint" / "model.safetensors" for stage in STAGES]
    before = [path.stat().st_mtime_ns for path in weights]
    run(tmp_path)
    assert [path.stat().st_mtime_ns for path in weights] == before
