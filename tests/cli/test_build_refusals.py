"""`ovexport build` where it can't be done: bad checkpoints, wrong usage, a full disk, failed parity. Nothing stays."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from cli_outcome import ERROR, Outcome, assert_refused, names_in
from safetensors.torch import load_file, save_file
from tiny_checkpoint import change_json, change_tensors

from ovengines.errors import ExitCode
from ovexport.graphs.write import write_graph
from ovexport.verify.tolerance import TOLERANCES, Tolerance

Command = Callable[..., Outcome]
WEIGHTS = "model.safetensors"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """An empty folder for the target."""
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def _shards(folder: Path) -> list[Path]:
    """Split the single file in three, with an index."""
    tensors = load_file(folder / WEIGHTS)
    names = sorted(tensors)
    weight_map = {name: f"model-{i % 3 + 1:05d}-of-00003.safetensors" for i, name in enumerate(names)}
    for file in sorted(set(weight_map.values())):
        save_file({name: tensors[name] for name in names if weight_map[name] == file}, folder / file)
    (folder / WEIGHTS).unlink()
    (folder / f"{WEIGHTS}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return sorted(folder.glob("*.safetensors"))


def _missing_shard(folder: Path) -> None:
    _shards(folder)[1].unlink()


def _truncated_shard(folder: Path) -> None:
    shard = _shards(folder)[2]
    os.truncate(shard, shard.stat().st_size - 8)


def _wrong_shape(folder: Path) -> None:
    change_tensors(folder, image_newline=torch.zeros(3))


def _missing_tensor(folder: Path) -> None:
    change_tensors(folder, image_newline=None)


def _only_pickled(folder: Path) -> None:
    (folder / WEIGHTS).rename(folder / "pytorch_model.bin")


def _no_weights(folder: Path) -> None:
    (folder / WEIGHTS).unlink()


def _no_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def _other_model(folder: Path) -> None:
    change_json(folder / "config.json", model_type="qwen2_vl")


def _empty(folder: Path) -> None:
    for file in folder.iterdir():
        file.unlink()


def _a_file(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_text("x")


def _absent(folder: Path) -> None:
    shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_missing_shard, "model-00002-of-00003.safetensors is missing"),
        (_truncated_shard, "model-00003-of-00003.safetensors"),
        (_wrong_shape, "image_newline is [3] and not [96]"),
        (_missing_tensor, "1 missing: "),
        (_only_pickled, "only pytorch_model.bin"),
        (_no_weights, "neither model.safetensors nor"),
        (_no_config, "config.json"),
        (_other_model, "qwen2_vl"),
        (_empty, "config.json"),
        (_a_file, "is a file"),
        (_absent, "no folder"),
    ],
)
@pytest.mark.parametrize("options", [[], ["--dry-run"], ["--json"]], ids=lambda options: options[0] if options else "")
def test_bad_checkpoints(
    spoil: Callable[[Path], None], words: str, options: list[str], ovexport: Command, checkpoint_copy: Path, out: Path
) -> None:
    spoil(checkpoint_copy)
    outcome = ovexport("build", checkpoint_copy, "-o", out / "b", *options)
    assert_refused(outcome, ExitCode.BAD_INPUT, words)
    assert names_in(out) == []


def test_the_shards_of_these_tests_are_good_ones(ovexport: Command, checkpoint_copy: Path, out: Path) -> None:
    assert len(_shards(checkpoint_copy)) == 3
    assert ovexport("build", checkpoint_copy, "-o", out / "b", "--verify", "off").code == 0


def test_a_hub_id_without_the_hub(ovexport: Command, out: Path) -> None:
    assert os.environ["HF_HUB_OFFLINE"] == "1"
    outcome = ovexport("build", "no-organisation/no-model", "-o", out / "b")
    assert_refused(outcome, ExitCode.BAD_INPUT, "no-organisation/no-model", "offline")
    assert names_in(out) == []


@pytest.mark.parametrize(
    ("words", "fragment"),
    [
        (["--precision", "bf16", "--verify", "full"], "bfloat16"),
        (["--target", "tensorrt"], "calibration"),  # int8, the default precision
        (["--target", "tensorrt", "--precision", "fp16", "--verify", "full"], "--target all"),
        (["--target", "gpu"], "gpu"),
        (["--precision", "int3"], "int3"),
        (["--verify", "sometimes"], "sometimes"),
        (["--no-such-option"], "--no-such-option"),
        (["--prec", "fp32"], "--prec"),
        (["--revision", "main"], "main"),
        (["second-model"], "second-model"),
    ],
)
@pytest.mark.parametrize("dry", [[], ["--dry-run"]])
def test_wrong_usage(
    words: list[str], fragment: str, dry: list[str], ovexport: Command, checkpoint: Path, out: Path
) -> None:
    assert_refused(ovexport("build", checkpoint, "-o", out / "b", *words, *dry), ExitCode.USAGE, fragment)
    assert names_in(out) == []


@pytest.mark.parametrize("words", [[], ["bake"], ["inspect"], ["verify"], ["inspect", "a", "b"]])
def test_wrong_commands(words: list[str], ovexport: Command) -> None:
    assert_refused(ovexport(*words), ExitCode.USAGE)


def test_an_existing_bundle_is_kept(ovexport: Command, checkpoint: Path, bundle_copy: Path) -> None:
    before = {file.name: file.read_bytes() for file in bundle_copy.iterdir()}
    outcome = ovexport("build", checkpoint, "-o", bundle_copy, "--precision", "fp32")
    assert_refused(outcome, ExitCode.USAGE, "exists already", "--force")
    assert {file.name: file.read_bytes() for file in bundle_copy.iterdir()} == before
    assert ovexport("build", checkpoint, "-o", bundle_copy, "--precision", "int8", "--force").code == 0
    assert json.loads((bundle_copy / "manifest.json").read_text())["precision"] == "int8"
    assert [name for name in names_in(bundle_copy.parent) if name.startswith(".")] == []


@pytest.mark.parametrize("force", [[], ["--force"]])
def test_what_is_no_bundle_is_never_replaced(force: list[str], ovexport: Command, checkpoint: Path, out: Path) -> None:
    (out / "photos").mkdir()
    (out / "photos" / "cat.jpg").touch()
    (out / "file").touch()
    for target in (out / "photos", out / "file"):
        outcome = ovexport("build", checkpoint, "-o", target, *force)
        assert_refused(outcome, ExitCode.USAGE, "not a bundle", "-o")
    assert names_in(out) == ["file", "photos"] and names_in(out / "photos") == ["cat.jpg"]


def test_a_target_below_a_file(ovexport: Command, checkpoint: Path, out: Path) -> None:
    (out / "file").touch()
    outcome = ovexport("build", checkpoint, "-o", out / "file" / "b", "--json")
    assert_refused(outcome, ExitCode.USAGE, "-o")


def test_a_disk_that_is_too_small_is_seen_before(
    ovexport: Command, checkpoint: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ovexport.plan.shutil.disk_usage", lambda folder: SimpleNamespace(free=1_000_000))
    monkeypatch.setattr("ovexport.build.write_graph", None)  # nothing may be written
    outcome = ovexport("build", checkpoint, "-o", out / "b", "--json")
    assert_refused(outcome, ExitCode.LIMIT_EXCEEDED, "0.00 GB left", "-o")
    assert names_in(out) == []


def test_memory_runs_out(ovexport: Command, checkpoint: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr("ovexport.build.make_reference", fail)
    assert_refused(ovexport("build", checkpoint, "-o", out / "b", "--json"), ExitCode.OUT_OF_MEMORY)
    assert names_in(out) == []


def _assert_parity_failed(outcome: Outcome, out: Path) -> None:
    assert (outcome.code, outcome.out) == (ExitCode.PARITY_FAILED, ""), outcome
    lines = outcome.err.splitlines(keepends=True)
    assert ERROR.fullmatch("".join(lines[-2:])) and "Traceback" not in outcome.err, outcome.err
    assert re.search(r"^(vision|projector|decoder).* FAIL$", outcome.err, re.MULTILINE)  # the table
    assert names_in(out) == []


def test_a_tolerance_that_does_not_hold(
    ovexport: Command, checkpoint: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TOLERANCES["fp32"], "decoder", Tolerance(max_error=1e-30, rms_error=1.0, min_cosine=0.0))
    outcome = ovexport("build", checkpoint, "-o", out / "b", "--precision", "fp32", "--json")
    _assert_parity_failed(outcome, out)


@pytest.mark.parametrize("file", ["vision.onnx", "projector.onnx", "decoder.onnx"])
@pytest.mark.parametrize("force", [False, True])
def test_weights_that_are_not_those_of_the_checkpoint(
    file: str,
    force: bool,
    ovexport: Command,
    checkpoint: Path,
    out: Path,
    bundle: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A third of one graph's weights is lost on the way to the disk; with --force an older bundle is kept."""

    def write_badly(graph: object, folder: Path, name: str, **options: object) -> object:
        written = write_graph(graph, folder, name, **options)  # type: ignore[arg-type]
        if name == file:
            data = folder / f"{name}.data"
            size_bytes = data.stat().st_size
            os.truncate(data, size_bytes * 2 // 3)
            os.truncate(data, size_bytes)
        return written

    monkeypatch.setattr("ovexport.build.write_graph", write_badly)
    target = out / "b"
    if force:
        shutil.copytree(bundle, target)
    outcome = ovexport("build", checkpoint, "-o", target, "--precision", "fp32", *(["--force"] if force else []))
    if force:
        assert (target / "manifest.json").read_bytes() == (bundle / "manifest.json").read_bytes()
        shutil.rmtree(target)
    _assert_parity_failed(outcome, out)
