"""Profiles: what is read of ONNX Runtime's trace, the bytes of a graph, the tables, and ours without genai."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from benchmarks import profile
from benchmarks.profile import (
    GENAI,
    OURS,
    Profile,
    Row,
    budget,
    product,
    quiet_median,
    read_bytes,
    step_kernels,
    summarise,
    table,
)
from benchmarks.setting import NotInstalled, Setting
from benchmarks.shapes import QWEN2_0_5B
from benchmarks.worker import Worker

NO_WAIT = 0.0


def event(kind: str, start_us: int, lasts_us: int, taken: int = 8, given: int = 8) -> dict[str, Any]:
    shapes = {
        key: [{"float": [1, 1, size]}] for key, size in (("input_type_shape", taken), ("output_type_shape", given))
    }
    arguments = {"op_name": kind, **shapes}
    return {"cat": "Node", "name": f"a_{kind}_kernel_time", "ts": start_us, "dur": lasts_us, "args": arguments}


def run(start_us: int, lasts_us: int) -> dict[str, Any]:
    return {"cat": "Session", "name": "model_run", "ts": start_us, "dur": lasts_us, "args": {}}


def test_kernels_belong_to_their_run_and_branches_to_nobody() -> None:
    trace = [
        event("Mul", 10, 90),
        run(0, 100),
        event("If", 1010, 50),
        event("Mul", 1020, 10),
        event("Mul", 1040, 15),
        run(1000, 100),
        event("MatMulNBits", 2000, 7, QWEN2_0_5B.hidden, QWEN2_0_5B.vocab_size),
        run(2000, 10),
    ]
    first, second = step_kernels(trace, QWEN2_0_5B, 2)
    assert {name: (row.nodes, row.ms) for name, row in first.items()} == {"If": (1, 0.025), "Mul": (2, 0.025)}
    assert second == {"MatMulNBits: head": Row(nodes=1, ms=0.007, read_bytes=0)}


@pytest.mark.parametrize(
    ("columns", "rows", "name"),
    [
        (896, 152000, "head"),
        (4864, 896, "down"),
        (896, 4864, "gate and up"),
        (896, 9728, "gate and up"),
        (896, 1152, "queries, keys, values"),
        (896, 896, "out of attention"),
    ],
)
def test_products_have_names(columns: int, rows: int, name: str) -> None:
    assert product(columns, rows, QWEN2_0_5B) == f"MatMulNBits: {name}"


def test_bytes_are_those_of_codes_and_scales_in_branches_too(tmp_path: Path) -> None:
    def matrix(name: str) -> onnx.NodeProto:
        return helper.make_node("MatMulNBits", ["x", f"{name}.codes", f"{name}.scales"], [name], K=896, N=896)

    branch = helper.make_graph([matrix("b")], "branch", [], [helper.make_tensor_value_info("b", 1, None)])
    nodes = [matrix("a"), helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)]
    weights = [
        TensorProto(name=f"{name}.{kind}", data_type=data_type, dims=dims, data_location=TensorProto.EXTERNAL)
        for name in "ab"
        for kind, data_type, dims in (
            ("codes", TensorProto.UINT8, (896, 7, 64)),
            ("scales", TensorProto.FLOAT, (896, 7)),
        )
    ]
    graph = helper.make_graph(nodes, "graph", [], [], weights)
    onnx.save(helper.make_model(graph), tmp_path / "model.onnx")
    found = read_bytes(tmp_path / "model.onnx", QWEN2_0_5B, 1000)
    assert found["MatMulNBits: out of attention"] == 2 * (896 * 7 * 64 + 896 * 7 * 4)
    assert found["Attention"] == found["GroupQueryAttention"] == 1000 * 24 * 2 * 2 * 64 * 4


def test_medians_are_of_the_quietest_steps() -> None:
    steps = [{"Mul": Row(nodes=2, ms=ms, read_bytes=0)} for ms in (9.0, 3.0, 8.0, 8.0, 1.0, *[7.0] * 6, 2.0)]
    assert quiet_median([step["Mul"].ms for step in steps]) == 2 and quiet_median([5.0]) == 5
    found = summarise(steps, {"Mul": 4e6, "Add": 1.0}, profiled_ms=5, step_ms=3)
    assert found.rows == {"Mul": Row(nodes=2, ms=2.0, read_bytes=4e6)}
    assert found.kernels_ms == 2 and found.read_bytes == 4e6


def fake(scale: float) -> Profile:
    rows = {
        "MatMulNBits: head": Row(nodes=1, ms=2 * scale, read_bytes=80e6),
        "Attention": Row(nodes=24, ms=scale, read_bytes=20e6),
        "Less": Row(nodes=1, ms=0.01, read_bytes=0),
    }
    return Profile(rows=rows, profiled_ms=4 * scale, step_ms=3.5 * scale)


def test_the_table_of_two() -> None:
    theirs = dataclasses.replace(fake(2), rows={"GroupQueryAttention": Row(nodes=24, ms=1, read_bytes=0)})
    lines = table({OURS: fake(1), GENAI: theirs}).splitlines()
    assert all(line.count("|") == 10 for line in lines)
    assert lines[2].startswith("| MatMulNBits: head | 1 | 2.00 | 80.0 | 40.0 |")
    assert [line.split("|")[1].strip() for line in lines[2:]] == [
        "MatMulNBits: head",
        "Attention",
        "GroupQueryAttention",
        "all others",
        "all kernels",
        "outside of kernels",
        "a step with the profiler",
        "a step without it",
    ]


def test_the_budget() -> None:
    told = budget({OURS: fake(1), GENAI: fake(2)}, 50)
    assert "reads 100.0 MB a step: at least 2.00 ms; 3.50 ms are 1.75 times that" in told
    assert "Ours is 2.00 times as fast. 1.5 times would be 4.67 ms: 21.4 GB/s throughout." in told
    assert "times as fast" not in budget({OURS: fake(1)}, 50)


class FakeSetting(Setting):
    """The embedded model's bundle for ours; genai is not installed."""

    bundle_of_ours: Path

    def process(self, name: str) -> Worker:
        if name == GENAI:
            raise NotInstalled("onnxruntime_genai is not installed: make bench-peers")
        return Worker(sys.executable, threads=1)

    def source(self, name: str) -> Path:
        return self.bundle_of_ours

    def weights(self) -> Path:
        from ovexport.embedded import EMBEDDED_MODEL

        return EMBEDDED_MODEL


def test_ours_alone(
    tmp_path: Path,
    build_tiny: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    setting = FakeSetting(folder=tmp_path, threads=1)
    object.__setattr__(setting, "bundle_of_ours", build_tiny("int4"))
    monkeypatch.setattr(profile, "PAUSE_S", NO_WAIT)
    ((name, found),) = profile.measure(setting, context=20, steps=2, rounds=2).items()
    assert name == OURS and "not installed" in capsys.readouterr().err
    assert found.rows["MatMulNBits: head"].nodes == 1 and found.rows["MatMulNBits: head"].read_bytes > 0
    assert 0 < found.kernels_ms < found.profiled_ms and found.step_ms > 0
    assert json.dumps(table({name: found}))


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(profile, "read_gb_per_s", lambda threads: 10.0 * threads)
    monkeypatch.setattr(profile, "measure", lambda setting, **_: {OURS: fake(1)})
    assert profile.main(["--folder", str(tmp_path / "bench"), "--threads", "2"]) == 0
    told = capsys.readouterr().out
    assert "| Attention | 24 | 1.00 | 20.0 | 20.0 |" in told and "bandwidth: 20.0 GB/s" in told
