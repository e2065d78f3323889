"""`ovexport build`, `inspect` and `verify` where all is well: what they print, and that it is true."""

from __future__ import annotations

import importlib.metadata
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cli_outcome import Outcome, assert_refused, names_in

import ovexport as package
from ovengines.errors import ExitCode
from ovexport.graphs.write import ALIGN_BYTES
from ovexport.plan import SMALL_FILES_BYTES

Command = Callable[..., Outcome]
PRECISIONS = ("fp32", "fp16", "int8", "int4")
PLAN_KEYS = {"model", "precision", "targets", "files_bytes", "source_bytes", "disk_bytes", "peak_memory_bytes"}


def parsed(outcome: Outcome) -> dict[str, Any]:
    """The one JSON document on stdout, beside which stderr is empty."""
    assert (outcome.code, outcome.err) == (0, ""), outcome
    content: dict[str, Any] = json.loads(outcome.out)
    return content


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


@pytest.mark.parametrize("precision", PRECISIONS)
def test_dry_run_tells_the_sizes_of_the_build(precision: str, ovexport: Command, checkpoint: Path, out: Path) -> None:
    words = ["build", checkpoint, "-o", out / "b", "--precision", precision, "--json"]
    plan = parsed(ovexport(*words, "--dry-run"))
    assert names_in(out) == [] and set(plan) == {*PLAN_KEYS, "bundle"}
    built = parsed(ovexport(*words))
    assert {key: built[key] for key in plan} == plan
    assert built["bundle"] == str(out / "b") and built["parity"]["passed"] is True
    written = 0
    for name, promised_bytes in plan["files_bytes"].items():
        data = out / "b" / f"{name}.data"
        written += data.stat().st_size if data.exists() else 0
        if promised_bytes:
            assert promised_bytes <= data.stat().st_size < promised_bytes + ALIGN_BYTES * _weights_in(out / "b" / name)
        else:
            assert not data.exists()
    assert written > 0
    assert plan["source_bytes"] == _tensor_bytes(checkpoint / "model.safetensors")
    assert plan["disk_bytes"] == sum(plan["files_bytes"].values()) + SMALL_FILES_BYTES
    assert sum(file.stat().st_size for file in (out / "b").iterdir()) < plan["disk_bytes"]


def _weights_in(graph: Path) -> int:
    import onnx

    initializers = onnx.load(str(graph), load_external_data=False).graph.initializer
    return sum(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in initializers)


def _tensor_bytes(file: Path) -> int:
    header_bytes = int.from_bytes(file.read_bytes()[:8], "little")
    return file.stat().st_size - 8 - header_bytes


def test_dry_run_as_text(ovexport: Command, checkpoint: Path, out: Path) -> None:
    plan = parsed(ovexport("build", checkpoint, "-o", out / "b", "--dry-run", "--json"))
    outcome = ovexport("build", checkpoint, "-o", out / "b", "--dry-run")
    assert (outcome.code, outcome.err) == (0, "") and outcome.last_line == f"would write {out / 'b'}"
    for name, size_bytes in plan["files_bytes"].items():
        line = re.search(rf"^ *{re.escape(name)} +{size_bytes / 1e6:.2f} MB$", outcome.out, re.MULTILINE)
        assert bool(line) == bool(size_bytes), name
    assert "int8" in outcome.out and "peak memory" in outcome.out and names_in(out) == []


def test_stdout_of_a_build(ovexport: Command, checkpoint: Path, out: Path) -> None:
    outcome = ovexport("build", checkpoint, "-o", out / "b")
    assert outcome.code == 0
    try_line, bundle_line = outcome.out.splitlines()[-2:]
    assert bundle_line == f"bundle    {out / 'b'}" and try_line == f"try       ovrun image.jpg -m {out / 'b'}"
    assert "decoder" in outcome.out and "PASS" in outcome.out.upper()
    assert "int8" in outcome.err and "\r" not in outcome.err  # the plan, and no bars: stderr is no terminal
    assert {"report.json", "report.html"} <= set(names_in(out / "b"))


def test_default_target_is_in_the_home(
    ovexport: Command, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OV_HOME", str(tmp_path / "home"))
    built = parsed(ovexport("build", checkpoint, "--verify", "off", "--json"))
    assert built["bundle"] == str(tmp_path / "home" / "bundles" / "random-model-int8") and built["parity"] is None
    assert names_in(tmp_path / "home" / "bundles") == ["random-model-int8"]


def test_the_embedded_model_is_the_default(ovexport: Command, out: Path) -> None:
    plan = parsed(ovexport("build", "--dry-run", "--json"))
    assert (plan["model"], plan["precision"]) == ("ov-tiny", "int8")
    assert ovexport("build", "--dry-run").last_line.endswith("ov-tiny-int8")


def test_inspect(ovexport: Command, bundle: Path) -> None:
    manifest = parsed(ovexport("inspect", bundle, "--json"))
    assert manifest == json.loads((bundle / "manifest.json").read_text())
    outcome = ovexport("inspect", bundle)
    assert (outcome.code, outcome.err) == (0, "")
    for file in manifest["files"]:
        assert re.search(rf"MB  {file['sha256'][:16]}\.\.\.  {re.escape(file['name'])}$", outcome.out, re.MULTILINE)
    for fragment in ("random-model", "fp32", "6/2 heads", "context 700", "330 tokens", "pixel_values", "4 grids"):
        assert fragment in outcome.out, fragment


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_verify(precision: str, ovexport: Command, checkpoint: Path, out: Path) -> None:
    assert ovexport("build", checkpoint, "-o", out / "b", "--precision", precision, "-q").code == 0
    (out / "b" / "report.html").unlink()
    report = parsed(ovexport("verify", out / "b", "--json"))
    assert report["passed"] is True and report == json.loads((out / "b" / "report.json").read_text())
    assert (out / "b" / "report.html").exists()
    table = ovexport("verify", out / "b")
    assert (table.code, table.err) == (0, "") and "decoder" in table.out
    answers = ovexport("verify", out / "b", "--checkpoint", checkpoint)
    assert (answers.code, answers.err) == (0, "")
    assert "small picture" in answers.out and "small picture" not in table.out


def test_full_build_compares_answers(ovexport: Command, checkpoint: Path, out: Path) -> None:
    outcome = ovexport("build", checkpoint, "-o", out / "b", "--precision", "fp32", "--verify", "full")
    assert outcome.code == 0 and "small picture" in outcome.out


def test_verify_finds_another_checkpoint(ovexport: Command, checkpoint_copy: Path, bundle_copy: Path) -> None:
    import torch
    from safetensors.torch import load_file
    from tiny_checkpoint import change_tensors

    tensors = load_file(checkpoint_copy / "model.safetensors")
    head = next(name for name in tensors if name.endswith("lm_head.weight"))
    change_tensors(checkpoint_copy, **{head: torch.roll(tensors[head], 7, dims=0)})
    outcome = ovexport("verify", bundle_copy, "--checkpoint", checkpoint_copy)
    assert outcome.code == ExitCode.BAD_INPUT and "is not what the bundle was made from" in outcome.err, outcome
    assert outcome.err.startswith("error: ") and outcome.err.count("\n") == 2


def test_verify_without_a_reference(ovexport: Command, checkpoint: Path, out: Path) -> None:
    assert ovexport("build", checkpoint, "-o", out / "b", "--verify", "off", "-q").code == 0
    assert "reference.npz" not in names_in(out / "b") and "report.json" not in names_in(out / "b")
    for options in ([], ["--checkpoint", checkpoint]):
        outcome = ovexport("verify", out / "b", *options)
        assert_refused(outcome, ExitCode.BUNDLE_INVALID, "reference.npz", "--verify off", "build it again")


def test_verify_of_a_checkpoint_that_is_none(ovexport: Command, bundle: Path, tmp_path: Path) -> None:
    assert_refused(ovexport("verify", bundle, "--checkpoint", tmp_path), ExitCode.BAD_INPUT, "config.json")


@pytest.mark.parametrize("words", [["--help"], ["build", "--help"], ["verify", "--help"], ["inspect", "--help"]])
def test_help(words: list[str], ovexport: Command) -> None:
    outcome = ovexport(*words)
    assert (outcome.code, outcome.err) == (0, "") and outcome.out.startswith("usage: ovexport")


def test_names_of_the_commands() -> None:
    scripts = {entry.name: entry.value for entry in importlib.metadata.distribution("ovexport").entry_points}
    assert scripts["ovexport"] == "ovexport.__main__:main" and scripts["ovrun"] == "ovrun.__main__:main"
    for module in ("ovexport.cli", "ovrun.cli"):
        done = subprocess.run([sys.executable, "-m", module, "--no-such-option"], capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (ExitCode.USAGE, "") and done.stderr.startswith("error: "), done
    for name in ("ovexport", "ovrun"):
        script = Path(sys.executable).parent / name
        done = subprocess.run([script, "--help"], capture_output=True, text=True)
        assert done.returncode == 0 and done.stdout.startswith(f"usage: {name}"), done
    assert package.__version__ == importlib.metadata.version("ovexport")


@pytest.mark.parametrize("precision", ["fp16", "bf16", "int4"])
def test_for_tensorrt_it_says_what_is_left_to_do(
    precision: str, ovexport: Command, checkpoint: Path, out: Path
) -> None:
    """No TensorRT here, and no GPU: the bundle is written and compared, the engines are the device's business."""
    outcome = ovexport("build", checkpoint, "-o", out / "b", "--precision", precision, "--target", "tensorrt")
    assert outcome.code == 0, outcome.err
    assert f"rsync -a {out / 'b'} DEVICE:bundles/" in outcome.out
    on_device = outcome.out.partition("on the device")[2].partition("\nbundle ")[0]
    for command in (
        "cmake --build build/kernels/cuda\n",
        "ovrun doctor --device tensorrt\n",
        "python -m ovengines.tensorrt bundles/b\n",
        "ovrun image.jpg -m bundles/b --device tensorrt",
    ):
        assert command in on_device
    assert str(out) not in on_device, "the device has other folders"
    manifest = json.loads((out / "b" / "manifest.json").read_text())
    assert [(g["role"], g["target"]) for g in manifest["graphs"]] == [
        (role, "trt") for role in ("vision", "projector", "decoder")
    ]
    assert {"decoder.trt.onnx", "decoder.trt.onnx.data"} < set(names_in(out / "b"))
    assert (out / "b" / "report.html").exists()


def test_all_targets_in_one_bundle(ovexport: Command, checkpoint: Path, out: Path) -> None:
    words = ["build", checkpoint, "-o", out / "b", "--precision", "fp16", "--target", "all", "--json"]
    built = parsed(ovexport(*words))
    assert set(built["targets"]) == {"ort", "trt"}
    stages = [row["stage"] for row in built["parity"]["rows"]]
    assert {stage.removeprefix("tensorrt: ") for stage in stages if stage.startswith("tensorrt: ")} < set(stages)
    assert all(row["judged"] and row["passed"] for row in built["parity"]["ranges"])
