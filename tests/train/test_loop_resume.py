"""A run that was killed or interrupted at any moment ends as the one that never was, to the bit."""

from __future__ import annotations

import random
import shutil
import signal
import time
from pathlib import Path

import pytest
from loop_fixture import losses, metrics, nursery, weights, words, write_all
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ovexport.cli import main

STEPS = 12
# Muon's and AdamW's states, rounded weights at the end, lengths from the folder, a worker that reads ahead.
OPTIONS = (
    "--optimizer", "muon", "--grouping", "like-length", "--max-steps", STEPS, "--save-every", 3, "--epochs", 4,
    "--rounded-share", 0.4, "--device-batch", 2,
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_all(tmp_path_factory.mktemp("resume"))


@pytest.fixture(scope="module")
def whole(folder: Path) -> Path:
    """The run that is never interrupted."""
    assert nursery().run(words("stage2-si", folder, *OPTIONS, "--out", folder / "whole"), folder / "whole.log") == [0]
    return folder / "whole"


def same_run(out: Path, whole: Path) -> None:
    assert len(losses(whole)) == STEPS
    assert losses(out) == losses(whole)
    assert [row["grad_norm"] for row in metrics(out)] == [row["grad_norm"] for row in metrics(whole)]
    assert (out / "checkpoint/model.safetensors").read_bytes() == (whole / "checkpoint/model.safetensors").read_bytes()


def num_lines(out: Path) -> int:
    path = out / "metrics.jsonl"
    return path.read_bytes().count(b"\n") if path.is_file() else 0


def test_killed_at_random_steps(folder: Path, whole: Path) -> None:
    seed = random.randrange(1 << 30)
    rng = random.Random(seed)
    out, log = folder / "killed", folder / "killed.log"
    line = words("stage2-si", folder, *OPTIONS, "--out", out, "--workers", 1)
    reached, codes = 0, []
    for _ in range(3):
        reached += rng.randint(1, 3)
        late_s = rng.random() * 0.02

        def is_there(wanted: int = reached, late_s: float = late_s) -> bool:
            there = num_lines(out) >= wanted
            time.sleep(late_s if there else 0)
            return there

        codes.append(nursery().signal_when(is_there, line, log, signal.SIGKILL))
    assert codes[0] == -signal.SIGKILL and {*codes} <= {-signal.SIGKILL, 0}, f"seed {seed}, {codes}"
    assert nursery().run(line, log) == [0], f"seed {seed}: {Path(f'{log}.0').read_text()}"
    same_run(out, whole)


def test_killed_while_a_state_is_written(folder: Path, whole: Path) -> None:
    """The first, the second and the third one: the run has then got so much further."""
    out, log = folder / "torn", folder / "torn.log"
    line = words("stage2-si", folder, *OPTIONS, "--out", out)
    (out / "states" / "step-00000099.partial").mkdir(parents=True)  # of a run with other steps: cleared away, too
    torn = 0
    for saved in range(3):

        def writes(saved: int = saved) -> bool:
            num_states = len(list(out.glob("states/step-*[0-9]")))
            return num_states >= saved and any(out.glob("states/*.partial/*.distcp"))

        nursery().signal_when(writes, line, log, signal.SIGKILL)
        torn += any(out.glob("states/*.partial"))
    assert torn > 0
    assert nursery().run(line, log) == [0], Path(f"{log}.0").read_text()
    same_run(out, whole)
    assert not list(out.glob("states/*.partial"))
    board_has_each_step_once(out)


def board_has_each_step_once(out: Path) -> None:
    """As TensorBoard itself shows it, over the event files of all runs."""
    board = EventAccumulator(str(out / "tensorboard"), size_guidance={"scalars": 0})
    board.Reload()
    rows = metrics(out)
    for name in ("loss", "grad_norm", "lr_language", "lr_vision", "tokens"):
        shown = [(event.step, pytest.approx(event.value, rel=1e-6)) for event in board.Scalars(name)]
        assert shown == [(row["step"], row[name]) for row in rows], name


def test_interrupted(folder: Path, whole: Path) -> None:
    out, log = folder / "interrupted", folder / "interrupted.log"
    line = words("stage2-si", folder, *OPTIONS, "--out", out)
    assert nursery().signal_when(lambda: num_lines(out) > 3, line, log, signal.SIGINT) == 130
    text = Path(f"{log}.0").read_text()
    assert "error: interrupted\nhint: the same command goes on after step " in text
    assert "Traceback" not in text and "Warning" not in text
    step = int(text.split("goes on after step ")[1].split()[0])
    assert nursery().run(line, log) == [0]
    assert f"going on after step {step}\n" in Path(f"{log}.0").read_text()
    same_run(out, whole)


def copied(whole: Path, to: Path) -> Path:
    return Path(shutil.copytree(whole, to))


def test_a_finished_stage_says_so(
    folder: Path, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = copied(whole, tmp_path / "out")
    written = (out / "checkpoint" / "model.safetensors").stat().st_mtime_ns
    no_start = ("--start-from", tmp_path / "nowhere")
    assert main(words("stage2-si", folder, *OPTIONS, *no_start, "--out", out)) == 0
    said = capsys.readouterr()
    assert said.out == f"{out / 'checkpoint'}\n"
    assert "is finished" in said.err and "next  ovexport train stage2-ov --size tiny" in said.err
    assert (out / "checkpoint" / "model.safetensors").stat().st_mtime_ns == written


def test_a_lost_checkpoint_is_made_of_the_last_state(folder: Path, whole: Path, tmp_path: Path) -> None:
    out = copied(whole, tmp_path / "out")
    shutil.rmtree(out / "checkpoint")
    assert main(words("stage2-si", folder, *OPTIONS, "--out", out)) == 0
    same_run(out, whole)


def test_another_recipe(folder: Path, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Refused on the way, and allowed from the start; what does not change what is learned may change."""
    out = copied(whole, tmp_path / "out")
    shutil.rmtree(out / "states" / "step-00000012")
    changed = (*OPTIONS, "--out", out, "--language-lr", "3e-3", "--betas", "0.8,0.9")
    assert main(words("stage2-si", folder, *changed)) == 2
    error = capsys.readouterr().err
    assert "language_lr was 0.001 and is now 0.003; betas was 0.9,0.98 and is now 0.8,0.9" in error
    assert "--resume never" in error
    assert main(words("stage2-si", folder, *OPTIONS, "--out", out, "--save-every", 5, "--recompute", "true")) == 0
    same_run(out, whole)
    capsys.readouterr()
    assert main(words("stage2-si", folder, *changed, "--resume", "never", "--max-steps", 2)) == 0
    assert len(losses(out)) == 2 and losses(out)[1] == losses(whole)[1]
    assert [path.name for path in sorted(out.glob("states/*"))] == ["step-00000002"]
    assert weights(out / "checkpoint").keys() == weights(whole / "checkpoint").keys()
