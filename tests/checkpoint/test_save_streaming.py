"""Saving takes memory for one tensor, gathers sharded models, and never costs the checkpoint that was there."""

from __future__ import annotations

import errno
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from tiny_checkpoint import TEMPLATE, checkpoint_config, hf_tokenizer

from ovengines.errors import ExitCode, OVError
from ovexport.checkpoint import load_model, open_checkpoint, save_checkpoint
from ovexport.checkpoint.layouts import HF_DISK
from ovexport.checkpoint.shard_file import write_shard
from ovexport.model import OneVision

NUM_FILES = 9  # of a folder with one shard
LINUX = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="reads Linux's peak memory")


def fresh(seed: int) -> OneVision:
    torch.manual_seed(seed)
    return OneVision(checkpoint_config(seed))


def save(model: OneVision, folder: Path, **options: Any) -> None:
    tokenizer = hf_tokenizer().backend_tokenizer.to_str().encode()
    save_checkpoint(model, folder, tokenizer_json=tokenizer, chat_template=TEMPLATE, **options)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_shard_file_is_what_safetensors_reads(tmp_path: Path, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = {"scalar": (), "é": (3,), "empty": (0, 4), "table": (5, 7), "cube": (2, 3, 4)}
    tensors = [torch.randn(shape, generator=generator).to(dtype) for shape in shapes.values()]
    write_shard(tmp_path / "x.safetensors", shapes, iter(tensors), dtype)
    read = load_file(tmp_path / "x.safetensors")
    assert read.keys() == shapes.keys()
    for name, tensor in zip(shapes, tensors, strict=True):
        assert read[name].dtype == dtype and torch.equal(read[name], tensor), name
    with safe_open(tmp_path / "x.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt"}


@pytest.mark.parametrize("seed", range(3))
def test_shards_are_no_larger_than_asked(tmp_path: Path, seed: int) -> None:
    model, limit = fresh(seed), 20_000
    save(model, tmp_path / "c", max_shard_bytes=limit)
    shards = [load_file(path) for path in sorted((tmp_path / "c").glob("*.safetensors"))]
    assert len(shards) > 1
    for shard in shards:
        assert sum(t.nbytes for t in shard.values()) <= limit or len(shard) == 1, f"seed {seed}"
    read = {name: tensor for shard in shards for name, tensor in shard.items()}
    for name, parameter in model.named_parameters():
        assert torch.equal(read.pop(HF_DISK.file_name(name)), parameter.bfloat16()), f"seed {seed}, {name}"
    assert not read


@LINUX
def test_memory_of_one_tensor(tmp_path: Path) -> None:
    """40 MB of weights in one shard; the largest tensor has 2 MB."""
    with torch.device("meta"):
        model = OneVision(checkpoint_config(0))
    size = 1 << 20
    for number in range(20):
        model.language_model.layers.append(torch.nn.Linear(1, 1))
        layer = model.language_model.layers[-1]
        layer.weight = torch.nn.Parameter(torch.full((size // 1024, 1024), float(number), dtype=torch.float16))
    model.to_empty(device="cpu")
    save(model, tmp_path / "warm", dtype=torch.float16)
    Path("/proc/self/clear_refs").write_text("5")
    before = peak_bytes()
    save(model, tmp_path / "c", dtype=torch.bfloat16)
    assert (tmp_path / "c" / "model.safetensors").stat().st_size > 40e6
    assert peak_bytes() - before < 12e6


def peak_bytes() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


@contextmanager
def disk_full_at(opened: int, code: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The file opened for writing as number `opened` takes no bytes."""
    real, count = Path.open, iter(range(1 << 30))

    def opening(path: Path, mode: str = "r", *args: Any, **named: Any) -> Any:
        if "w" in mode and next(count) == opened:
            raise OSError(code, os.strerror(code), str(path))
        return real(path, mode, *args, **named)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", opening)
        yield


@pytest.mark.parametrize("opened", range(NUM_FILES))
def test_full_disk_at_any_file(tmp_path: Path, opened: int, monkeypatch: pytest.MonkeyPatch) -> None:
    save(fresh(0), tmp_path / "c")
    before = contents(tmp_path / "c")
    assert len(before) == NUM_FILES
    code = (errno.ENOSPC, errno.EDQUOT)[opened % 2]
    with disk_full_at(opened, code, monkeypatch), pytest.raises(OVError, match="full") as caught:
        save(fresh(1), tmp_path / "c")
    assert caught.value.code == ExitCode.LIMIT_EXCEEDED and "make room" in caught.value.hint
    assert contents(tmp_path / "c") == before and os.listdir(tmp_path) == ["c"]
    with disk_full_at(opened, code, monkeypatch), pytest.raises(OVError):
        save(fresh(1), tmp_path / "new")
    assert os.listdir(tmp_path) == ["c"]


def test_disk_that_gets_full_inside_a_file(tmp_path: Path) -> None:
    """The kernel's own error, by a limit on the size of files."""
    resource = pytest.importorskip("resource")
    save(fresh(0), tmp_path / "c")
    before = contents(tmp_path / "c")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, hard))
    try:
        with pytest.raises(OVError, match="full") as caught:
            save(fresh(1), tmp_path / "c")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.code == ExitCode.LIMIT_EXCEEDED
    assert contents(tmp_path / "c") == before and os.listdir(tmp_path) == ["c"]


@pytest.mark.parametrize("stop", ["first rename", "second rename"])
def test_interrupted_while_names_change(tmp_path: Path, stop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    save(fresh(0), tmp_path / "c")
    before, real = contents(tmp_path / "c"), Path.rename

    def renaming(path: Path, target: Path) -> Path:
        if path.suffix == ".partial" or stop == "first rename":
            monkeypatch.undo()
            raise KeyboardInterrupt
        return real(path, target)

    monkeypatch.setattr(Path, "rename", renaming)
    with pytest.raises(KeyboardInterrupt):
        save(fresh(1), tmp_path / "c")
    assert contents(tmp_path / "c") == before and os.listdir(tmp_path) == ["c"]


def test_killed_between_the_renames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A killed process leaves the old folder and the new one under hidden names; the next one puts the old back."""
    save(fresh(0), tmp_path / "c")
    save(fresh(1), tmp_path / "d")
    before = contents(tmp_path / "c")
    (tmp_path / "c").rename(tmp_path / ".c.killed.old")
    (tmp_path / "d").rename(tmp_path / ".c.killed.partial")
    with disk_full_at(0, errno.ENOSPC, monkeypatch), pytest.raises(OVError):
        save(fresh(2), tmp_path / "c")
    assert contents(tmp_path / "c") == before and os.listdir(tmp_path) == ["c"]


def test_other_files_are_kept_and_old_shards_are_not(tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "c", tmp_path / "elsewhere"
    save(fresh(0), folder, max_shard_bytes=5_000, extra_files={"training.json": b"old"})
    (folder / "README.md").write_text("mine")
    (folder / "logs").mkdir()
    (folder / "logs" / "metrics.jsonl").write_text("{}")
    elsewhere.write_text("far")
    (folder / "link").symlink_to(elsewhere)
    with (folder / "logs" / "metrics.jsonl").open("a") as still_open:
        save(fresh(1), folder, extra_files={"training.json": b"new"})
        still_open.write("{}")
    kept = contents(folder)
    assert kept["README.md"] == b"mine" and kept["logs/metrics.jsonl"] == b"{}{}" and kept["training.json"] == b"new"
    assert (folder / "link").is_symlink() and (folder / "link").read_text() == "far"
    assert [name for name in kept if "safetensors" in name] == ["model.safetensors"]


def test_a_link_to_a_folder_stays_one(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "c").symlink_to(tmp_path / "disk" / "real", target_is_directory=True)
    for seed in range(2):
        save(fresh(seed), tmp_path / "c")
    assert (tmp_path / "c").is_symlink() and os.listdir(tmp_path / "disk") == ["real"]
    with open_checkpoint(tmp_path / "c") as checkpoint:
        assert checkpoint.config == fresh(1).config


def test_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OVError, match="file can't be written") as caught:
        save(fresh(0), tmp_path / "file" / "c")
    assert caught.value.code == ExitCode.USAGE


def test_files_can_be_read_by_others(tmp_path: Path) -> None:
    """safetensors' own writer makes files for their owner only."""
    save(fresh(0), tmp_path / "c")
    modes = {path.stat().st_mode & 0o777 for path in (tmp_path / "c").iterdir()}
    umask = os.umask(0)
    os.umask(umask)
    assert modes == {0o666 & ~umask}


def test_two_processes_with_a_sharded_model(tmp_path: Path) -> None:
    """Gathered over gloo: the same file as of the whole model, and an error of the writer does not stop the other."""
    (tmp_path / "a file").write_text("")
    (tmp_path / "config.pickle").write_bytes(pickle.dumps(checkpoint_config(3)))
    script, seed = str(Path(__file__).with_name("sharded_saver.py")), 3
    ranks = [
        subprocess.Popen(
            [sys.executable, script, str(rank), str(tmp_path), str(seed)], stdout=subprocess.PIPE, text=True
        )
        for rank in (0, 1)
    ]
    try:
        said = [process.communicate(timeout=100)[0] for process in ranks]
    finally:
        for process in ranks:
            process.kill()
    assert [process.returncode for process in ranks] == [0, 0]
    assert "can't be written" in said[0] and said[1] == ""
    save(fresh(seed), tmp_path / "expected", max_shard_bytes=20_000)
    got, expected = contents(tmp_path / "whole"), contents(tmp_path / "expected")
    weights = [name for name in expected if "safetensors" in name]
    assert len(weights) > 2 and all(got[name] == expected[name] for name in weights)


def test_mapped_weights_of_the_folder_that_is_replaced(tmp_path: Path) -> None:
    model = fresh(0)
    save(model, tmp_path / "c", dtype=torch.float32)
    with open_checkpoint(tmp_path / "c") as checkpoint:
        save(load_model(checkpoint), tmp_path / "c", dtype=torch.float32)
    for name, tensor in load_file(tmp_path / "c" / "model.safetensors").items():
        own = HF_DISK.own_name(name)
        assert own and torch.equal(tensor, model.get_parameter(own)), name
