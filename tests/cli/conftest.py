"""A tiny random checkpoint with the conversation of training, its bundle, and command lines run in this process."""

from __future__ import annotations

import dataclasses
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from cli_outcome import Outcome
from PIL import Image

from ovexport.checkpoint.chat_template import builtin_template
from ovexport.cli import main as ovexport_main
from ovexport.model import OneVisionConfig
from ovrun.cli import main as ovrun_main

for area in ("model", "checkpoint"):
    sys.path.append(str(Path(__file__).resolve().parent.parent / area))

Command = Callable[..., Outcome]
SEED = 3


def small_config() -> OneVisionConfig:
    """Four grids; 6 query heads over 2, as narrow as the engine allows."""
    from tiny_checkpoint import checkpoint_config

    drawn = checkpoint_config(SEED, sides=2, tied=False)
    language = dataclasses.replace(
        drawn.language, hidden=96, num_layers=2, num_heads=6, num_kv_heads=2, head_dim=16, max_positions=700
    )
    return dataclasses.replace(drawn, language=language)


@pytest.fixture(autouse=True)
def _one_thread_and_own_home(one_thread_and_own_home: None) -> None:
    """For every test of this folder."""


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Not to be changed; see `checkpoint_copy`."""
    from tiny_checkpoint import write_hf

    folder = tmp_path_factory.mktemp("cli") / "random-model"
    write_hf(folder, SEED, config=small_config())
    (folder / "chat_template.jinja").write_text(builtin_template(has_video_token=True))
    return folder


@pytest.fixture
def checkpoint_copy(checkpoint: Path, tmp_path: Path) -> Path:
    return shutil.copytree(checkpoint, tmp_path / "checkpoint" / "random-model")


@pytest.fixture(scope="session")
def bundle(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """In fp32, verified; not to be changed, see `bundle_copy`."""
    target = tmp_path_factory.mktemp("cli-bundle") / "random-fp32"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OV_HOME", str(tmp_path_factory.mktemp("build-home")))
        assert ovexport_main(["build", str(checkpoint), "-o", str(target), "--precision", "fp32", "-q"]) == 0
    return target


@pytest.fixture
def bundle_copy(bundle: Path, tmp_path: Path) -> Path:
    return shutil.copytree(bundle, tmp_path / "bundle")


def _command(main: Callable[[list[str]], int], capfd: pytest.CaptureFixture[str]) -> Command:
    def run(*words: object) -> Outcome:
        capfd.readouterr()
        code = main([str(word) for word in words])
        captured = capfd.readouterr()
        return Outcome(code=code, out=captured.out, err=captured.err)

    return run


@pytest.fixture
def ovexport(capfd: pytest.CaptureFixture[str]) -> Command:
    """Runs `ovexport` with the words given; what native libraries write is captured, too."""
    return _command(ovexport_main, capfd)


@pytest.fixture
def ovrun(capfd: pytest.CaptureFixture[str]) -> Command:
    return _command(ovrun_main, capfd)


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """50 x 70 px of noise."""
    file = tmp_path / "picture.png"
    Image.fromarray(np.random.default_rng(5).integers(0, 256, (50, 70, 3), dtype=np.uint8)).save(file)
    return file
