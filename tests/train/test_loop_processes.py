"""Two and four gloo processes, copied (DDP) and sharded (FSDP2), give the loss curve of one process."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from loop_fixture import TIMEOUT_S, losses, metrics, nursery, weights, words, write_all
from torch.distributed.checkpoint import FileSystemReader

CLOSE = 1e-4
# Pictures and text in micro-batches of one sample, of which the last step has two too few; everything that FSDP has
# to get right: accumulation, clipping (the norm is far above), activations computed again, a tied table, weights that
# are rounded in the last step or two.
RECORDS = 22
MIXED = (
    "--global-batch", 8, "--drop-last", "false", "--max-steps", "none", "--max-grad-norm", 0.5, "--recompute", "true",
    "--save-every", 1, "--rounded-share", 0.5,
)  # fmt: skip
STEPS = 3
SETTINGS: dict[str, tuple[str, tuple[object, ...]]] = {
    "mixed": ("stage2-si", MIXED),
    "tokens": ("stage2-si", (*MIXED, "--loss-mean", "tokens", "--grouping", "packed", "--max-length", 250,
                             "--global-batch", 4)),
    "frozen": ("stage1", ("--template", "qwen_1_5", "--max-steps", 4)),
    "bf16": ("stage2-si", (*MIXED, "--precision", "bf16")),
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_all(tmp_path_factory.mktemp("processes"), RECORDS)


def run(folder: Path, setting: str, size: int | None, parallel: str, out: Path | None = None) -> Path:
    """The folder of a run, made once."""
    stage, options = SETTINGS[setting]
    out = out or folder / f"{setting} {parallel} {size}"
    if not (out / "checkpoint").exists():
        line = words(stage, folder, *options, "--out", out, "--parallel", parallel)
        codes = nursery().run(line, out.with_suffix(".log"), size)
        assert codes == [0] * (size or 1), said(out.with_suffix(".log"))
    return out


def said(log: Path) -> str:
    return "\n".join(path.read_text() for path in sorted(log.parent.glob(f"{log.name}.*")))


def same_curve(got: Path, expected: Path, first: int = 0) -> None:
    assert losses(got)[first:] == pytest.approx(losses(expected)[first:], rel=CLOSE)
    norms = [[row["grad_norm"] for row in metrics(out)[first:]] for out in (got, expected)]
    assert norms[0] == pytest.approx(norms[1], rel=10 * CLOSE)
    assert [row["tokens"] for row in metrics(got)] == [row["tokens"] for row in metrics(expected)]
    theirs = weights(expected / "checkpoint")
    for name, tensor in weights(got / "checkpoint").items():
        torch.testing.assert_close(tensor, theirs[name], rtol=0, atol=CLOSE, msg=name)


@pytest.mark.parametrize(
    ("setting", "size", "parallel"),
    [
        ("mixed", 2, "ddp"),
        ("mixed", 4, "fsdp"),
        ("tokens", 2, "fsdp"),
        ("frozen", 4, "ddp"),
    ],
)
def test_the_curve_of_one_process(folder: Path, setting: str, size: int | None, parallel: str) -> None:
    alone, together = run(folder, setting, None, "auto"), run(folder, setting, size, parallel)
    assert len(losses(alone)) >= STEPS and losses(alone)[-1] != losses(alone)[0]
    same_curve(together, alone)
    if setting == "frozen":
        only_the_projector_moved(together, folder / "start")


def only_the_projector_moved(out: Path, start: Path) -> None:
    before = weights(start)
    moved = {name for name, tensor in weights(out / "checkpoint").items() if not tensor.equal(before[name])}
    assert {name.split(".")[0] for name in moved} == {"multi_modal_projector"}


@pytest.mark.parametrize(
    ("setting", "before", "after"),
    [
        ("tokens", (2, "fsdp"), (4, "ddp")),
        ("mixed", (4, "fsdp"), (None, "auto")),
        ("mixed", (2, "ddp"), (2, "fsdp")),
    ],
)
def test_a_state_loads_on_another_number_of_processes(
    folder: Path, tmp_path: Path, setting: str, before: tuple[int | None, str], after: tuple[int | None, str]
) -> None:
    """The last state but one goes on to the same end."""
    out = Path(shutil.copytree(run(folder, setting, *before), tmp_path / "moved"))
    shutil.rmtree(out / "checkpoint")
    *_, state, last = sorted(out.glob("states/step-*"))
    shutil.rmtree(last)
    run(folder, setting, *after, out=out)
    assert f"going on after step {int(state.name[5:])}\n" in said(tmp_path / "moved.log")
    same_curve(out, run(folder, setting, None, "auto"))


def test_bf16_is_close_to_float32(folder: Path) -> None:
    """By autocast in one process and by FSDP's own policy; float32 weights are what both move."""
    exact = run(folder, "mixed", None, "auto")
    for parallel in ("auto", "fsdp"):
        rounded = run(folder, "bf16", None, parallel)
        assert losses(rounded) == pytest.approx(losses(exact), rel=1e-2)
        assert losses(rounded) != pytest.approx(losses(exact), rel=1e-5)
        assert all(tensor.dtype == torch.bfloat16 for tensor in weights(rounded / "checkpoint").values())
        saved = FileSystemReader(sorted(rounded.glob("states/step-*"))[-1]).read_metadata().state_dict_metadata
        model = [tensor for name, tensor in saved.items() if name.startswith("model.")]
        assert model and {tensor.properties.dtype for tensor in model} == {torch.float32}


def test_only_the_first_process_is_heard(folder: Path) -> None:
    out = run(folder, "mixed", 4, "fsdp")
    first, *others = (Path(f"{out}.log.{rank}").read_text() for rank in range(4))
    assert others == ["", "", ""]
    assert first.splitlines()[0] == str(out / "checkpoint") and first.splitlines()[1].startswith("next  ovexport train")
    assert len(first.splitlines()) == 2


@pytest.mark.parametrize(
    ("options", "size", "fragment"),
    [
        (("--global-batch", 6), 4, "a global batch of 6 does not divide into 4 processes of 1 samples"),
        (("--optimizer", "muon", "--parallel", "fsdp"), 2, "Muon needs whole matrices"),
    ],
)
def test_what_does_not_go_together_ends_every_process(
    folder: Path, tmp_path: Path, options: tuple[object, ...], size: int, fragment: str
) -> None:
    line = words("stage2-si", folder, *options, "--out", tmp_path / "out")
    assert nursery().run(line, tmp_path / "log", size) == [2] * size
    for rank in range(size):
        lines = (tmp_path / f"log.{rank}").read_text().splitlines()
        assert [line.split(":")[0] for line in lines] == ["error", "hint"] and fragment in lines[0]


def test_torchrun(folder: Path) -> None:
    """The documented line itself, here with FSDP over frozen parts, and a worker that reads ahead."""
    stage, options = SETTINGS["frozen"]
    out = folder / "torchrun"
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    line = words(stage, folder, *options, "--out", out, "--workers", 1, "--parallel", "fsdp")
    done = subprocess.run(
        [*launcher, "-m", "ovexport", *line], cwd=folder, capture_output=True, text=True, timeout=TIMEOUT_S
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{out / 'checkpoint'}\n"
    only_the_projector_moved(out, folder / "start")
    same_curve(out, run(folder, "frozen", None, "auto"))
