"""What goes wrong in a stage: a sentence, the documented exit code, and no lost state or checkpoint."""

from __future__ import annotations

import errno
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from loop_fixture import losses, metrics, nursery, weights, words, write_all, write_records

from ovexport.checkpoint import save as save_module
from ovexport.cli import main
from ovexport.train.loop import stage as stage_module
from ovexport.train.loop import step as step_module


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_all(tmp_path_factory.mktemp("faults"))


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs a command line that must end with a code, an error and a hint; gives what it said."""

    def run(line: list[str], code: int, *fragments: str) -> str:
        capsys.readouterr()
        assert main(line) == code
        said = capsys.readouterr()
        told = [text for text in said.err.splitlines() if text.startswith(("error: ", "hint: "))]
        assert said.out == "" and len(told) == 2 and "Traceback" not in said.err, said.err
        assert not [fragment for fragment in fragments if fragment not in " ".join(told)], said.err
        return said.err

    return run


def test_start_that_is_not_there(folder: Path, tmp_path: Path, refused: Callable[..., str]) -> None:
    line = ["train", "stage2-si", "--size", "tiny", "--runs", str(tmp_path), "--device", "cpu"]
    drawn = tmp_path / "tiny" / "drawn"
    refused(line, 3, f"{drawn / 'stage2-si.yaml'} is not there", f"ovexport data draw {drawn}")
    line += ["--data", str(folder / "data" / "records.jsonl")]
    refused(line, 3, "stage2-si starts from stage1.5", "train stage1.5 first, or name a checkpoint with --start-from")
    line[1] = "stage1"
    refused(line, 3, "stage1 starts from parts", "make ov-tiny")
    refused(words("stage2-si", folder, "--start-from", tmp_path / "nowhere", "--out", tmp_path), 3, "nowhere")
    assert not list(tmp_path.iterdir())


def test_start_of_another_size_or_stage(folder: Path, tmp_path: Path, refused: Callable[..., str]) -> None:
    line = words("stage2-si", folder, "--out", tmp_path / "out", "--size", "0.5b", "--max-visual-tokens", 7290)
    refused(line, 3, "20 wide with 2 layers", "896 and 24", "--size")
    shutil.copytree(folder / "start", tmp_path / "start")
    written = {"stage": "stage2-si", "size": "tiny"}
    (tmp_path / "start" / "training.json").write_text(json.dumps(written))
    usual = (folder, "--start-from", tmp_path / "start", "--out", tmp_path / "out", "--max-steps", 1)
    refused(words("stage1.5", *usual), 3, "was written by stage2-si, but stage1.5 starts from stage1", "--any-stage")
    assert main([*words("stage1.5", *usual), "--any-stage"]) == 0
    assert main([*words("stage2-ov", *usual), "--resume", "never"]) == 0
    (tmp_path / "start" / "training.json").write_text(json.dumps({**written, "size": "7b"}))
    anew = [*words("stage2-ov", *usual), "--resume", "never"]
    refused(anew, 3, "is of size 7b, not tiny", "--size 7b")


def test_data_that_does_not_fit(folder: Path, tmp_path: Path, refused: Callable[..., str]) -> None:
    mixture = tmp_path / "mix.yaml"
    mixture.write_text("datasets:\n  - json_path: records.jsonl\n    sampling_strategy: middle:10%\n")
    line = words("stage2-si", folder, "--data", mixture, "--out", tmp_path / "out")
    refused(line, 3, f"{mixture}, entry 1", "middle:10%")
    records = write_records(tmp_path / "few", 3)
    refused(words("stage2-si", folder, "--data", records, "--out", tmp_path / "out"), 3, "3 samples, too few")


def test_broken_samples_are_listed_once(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], refused: Callable[..., str]
) -> None:
    shutil.copytree(folder / "data", tmp_path / "data")
    records = tmp_path / "data" / "records.jsonl"
    lines = records.read_text().splitlines()
    lines[4] = '{"id": "no talk", "conversations": []}'
    records.write_text("\n".join(lines) + "\n")
    (tmp_path / "data" / "0-0.png").write_bytes(b"not a picture")
    usual = ("--data", records, "--max-steps", 12, "--epochs", 2, "--workers", 1)
    assert main(words("stage2-si", folder, *usual, "--out", tmp_path / "out")) == 0
    listed = [json.loads(line) for line in (tmp_path / "out" / "skipped.jsonl").read_text().splitlines()]
    assert {(skip["record_id"], skip["index"], skip["file"]) for skip in listed} == {
        ("0", 0, str(records)), ("no talk", 4, str(records)),
    }  # fmt: skip
    assert len(listed) == 2 and all(skip["reason"] for skip in listed)
    assert metrics(tmp_path / "out")[-1]["skipped"] == 2
    assert f"broken samples that were left out: 2, listed in {tmp_path / 'out' / 'skipped.jsonl'}" in (
        capsys.readouterr().err
    )
    codes = nursery().run(words("stage2-si", folder, *usual, "--out", tmp_path / "two"), tmp_path / "log", 2)
    assert codes == [0, 0] and losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "out"), rel=1e-4)
    assert "left out: 2, listed in" in (tmp_path / "log.0").read_text()
    assert (tmp_path / "log.1").read_text() == ""
    for picture in (tmp_path / "data").glob("*.png"):
        picture.unlink()
    records.write_text("\n".join(line for line in lines if "png" in line) + "\n")
    for workers in (0, 1):
        line = words("stage2-si", folder, "--data", records, "--workers", workers, "--out", tmp_path / "none")
        refused(line, 3, "8 records in a row are broken, first record", str(records), "0.png", "folders of images")


def test_a_process_that_ends_ends_the_others(folder: Path, tmp_path: Path) -> None:
    """One record is followed by seven that are broken, too. The process that does not meet it must not hang."""
    write_records(tmp_path / "data", 40, kinds="image")
    for number in range(20, 28):
        (tmp_path / "data" / f"{number}-0.png").unlink()
    steps_of_four = ("--data", tmp_path / "data" / "records.jsonl", "--max-steps", 10, "--out", tmp_path / "out")
    codes = nursery().run(words("stage2-si", folder, *steps_of_four), tmp_path / "log", 2)
    texts = [(tmp_path / f"log.{rank}").read_text() for rank in range(2)]
    assert sorted(codes) == [1, 3]
    assert "8 records in a row are broken" in texts[codes.index(3)]
    assert "error: another process has ended" in texts[codes.index(1)] and "Traceback" not in "".join(texts)


def full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_disk_full_while_a_state_is_saved(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Callable[..., str]
) -> None:
    """In the middle of a file of the second state: the first one stays, and the run goes on from it."""
    out, whole = tmp_path / "out", tmp_path / "whole"
    assert main(words("stage2-si", folder, "--out", whole)) == 0

    class FullDisk(io.FileIO):
        def write(self, data: Any) -> int:
            if "step-00000004" in str(self.name):
                full()
            return super().write(data)

    plain_open = Path.open

    def opened(path: Path, mode: str = "r", *args: Any, **options: Any) -> Any:
        return FullDisk(path, mode) if mode == "wb" else plain_open(path, mode, *args, **options)

    with monkeypatch.context() as broken:
        broken.setattr(Path, "open", opened)
        line = words("stage2-si", folder, "--out", out)
        kept = "the state step-00000002 is kept, and the next run goes on from it"
        refused(line, 4, "step-00000004 could not be saved: the disk is full", kept)
    assert [path.name for path in out.glob("states/*")] == ["step-00000002"]
    assert main(words("stage2-si", folder, "--out", out)) == 0
    assert losses(out) == losses(whole)
    assert weights(out / "checkpoint").keys() == weights(whole / "checkpoint").keys()


def test_disk_full_while_the_checkpoint_is_written(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Callable[..., str]
) -> None:
    """The older checkpoint stays, and so does the last state: only the writing is done again."""
    out = tmp_path / "out"
    assert main(words("stage2-si", folder, "--out", out, "--max-steps", 2)) == 0
    older = (out / "checkpoint" / "model.safetensors").read_bytes()
    line = words("stage2-si", folder, "--out", out, "--max-steps", 3)
    with monkeypatch.context() as broken:
        broken.setattr(save_module, "write_shard", full)
        refused([*line, "--resume", "never"], 4, "is full")
    assert (out / "checkpoint" / "model.safetensors").read_bytes() == older
    assert not list(out.glob(".*"))
    monkeypatch.setattr(stage_module, "train_step", full)
    assert main(line) == 0
    assert (out / "checkpoint" / "model.safetensors").read_bytes() != older and len(losses(out)) == 3


def test_disk_full_of_metrics(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Callable[..., str]
) -> None:
    monkeypatch.setattr(stage_module, "write_training", full)
    refused(words("stage2-si", folder, "--out", tmp_path / "out"), 4, "the disk is full", "no state was saved yet")


def test_a_damaged_state(folder: Path, tmp_path: Path, refused: Callable[..., str]) -> None:
    """It is named, and so is the one before it, which takes its place when it is deleted."""
    out = tmp_path / "out"
    line = words("stage2-si", folder, "--out", out)
    assert main(line) == 0
    last, expected = out / "states" / "step-00000006", losses(out)
    (shard,) = last.glob("*.distcp")
    shard.write_bytes(shard.read_bytes()[:1000])
    shutil.rmtree(out / "checkpoint")
    refused(line, 3, f"the state {last} can't be loaded", "go on from step-00000004")
    shutil.rmtree(last)
    assert main(line) == 0
    assert losses(out) == expected


def test_a_loss_of_nan_never_reaches_the_weights(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Callable[..., str]
) -> None:
    out = tmp_path / "out"
    calls = iter(range(1000))
    batch_loss = step_module.batch_loss

    def loss(*args: Any, **options: Any) -> torch.Tensor:
        return batch_loss(*args, **options) * (float("nan") if next(calls) == 4 * 3 + 1 else 1)

    monkeypatch.setattr(step_module, "batch_loss", loss)
    line = words("stage2-si", folder, "--out", out, "--save-every", 1)
    refused(line, 1, "step 4 has a loss of nan", "goes on after step 3")
    assert [row["step"] for row in metrics(out)] == [0, 1, 2]
