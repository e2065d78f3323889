"""What a stage may not move is in its checkpoint as it was in the start's, bit for bit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from loop_fixture import weights, words, write_all

from ovexport.cli import main

PROJECTOR, TOWER, LANGUAGE = "multi_modal_projector.", "vision_tower.", "language_model."
NEVER = "post_layernorm"  # carried through files, and not part of the model's function


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return write_all(tmp_path_factory.mktemp("frozen"), tied=False)


def moved(folder: Path, stage: str, *options: object) -> tuple[set[str], set[str]]:
    """Names of tensors that changed, and of those that did not."""
    assert main(words(stage, folder, *options, "--max-steps", 3, "--warmup-ratio", 0)) == 0
    before, after = weights(folder / "start"), weights(folder / "runs" / "tiny" / stage / "checkpoint")
    assert before.keys() == after.keys()
    same = {name for name, tensor in after.items() if tensor.view(torch.int32).equal(before[name].view(torch.int32))}
    return set(after) - same, same


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_stage_1_moves_the_projector_alone(folder: Path, optimizer: str) -> None:
    """With ov-tiny's weight decay, which must not reach the frozen parts either."""
    more = ("--template", "qwen_1_5", "--optimizer", optimizer, "--resume", "never")
    changed, same = moved(folder, "stage1", *more)
    assert changed == {name for name in changed | same if name.startswith(PROJECTOR)} and len(changed) == 4


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_stage_1_5_moves_all_that_is_used(folder: Path, optimizer: str) -> None:
    _, same = moved(folder, "stage1.5", "--optimizer", optimizer, "--resume", "never")
    assert len(same) == 2 and all(NEVER in name for name in same)


def test_a_tower_alone(folder: Path) -> None:
    changed, same = moved(folder, "stage2-si", "--trainable", "vision")
    assert changed and all(name.startswith(TOWER) for name in changed)
    assert {name for name in same if name.startswith(TOWER)} == {name for name in same if NEVER in name}
