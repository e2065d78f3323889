"""Fixtures of the runtime's tests: a bundle on disk, sessions and command lines on fake engines, pictures."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from batch_lines import lines_of
from chat_turns import SHORT, give_lines
from fake_engine import FakeEngine, write_bundle
from PIL import Image
from runners import Batch, Run, Talk

from ovrun.cli import main
from ovrun.session import Session


@pytest.fixture(scope="session")
def bundle_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    return write_bundle(home / "bundles" / "fake")


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[FakeEngine]:
    """Makes sessions run on fake engines, and lists those that were opened."""
    opened: list[FakeEngine] = []

    def open_fake(bundle: object, device: str, threads: int | None, progress: object) -> FakeEngine:
        opened.append(FakeEngine(bundle.manifest.model))  # type: ignore[attr-defined]
        return opened[-1]

    monkeypatch.setattr("ovrun.session.open_engine", open_fake)
    monkeypatch.setenv("OV_HOME", str(tmp_path / "ov-home"))
    return opened


@pytest.fixture
def session(bundle_path: Path, engines: list[FakeEngine]) -> Session:
    return Session.open(bundle_path)


@pytest.fixture
def small_session(session: Session) -> Callable[[int], Session]:
    """The session with another context length."""

    def with_context(max_positions: int) -> Session:
        model = replace(session.model, max_positions=max_positions)
        return Session(
            replace(session.bundle, manifest=replace(session.bundle.manifest, model=model)),
            FakeEngine(model),
            session.tokenizer,
            session.template,
        )

    return with_context


@pytest.fixture
def picture() -> Image.Image:
    """70 x 50 px of noise: a grid of several tiles, none like another."""
    return Image.fromarray(np.random.default_rng(5).integers(0, 256, (50, 70, 3), dtype=np.uint8))


@pytest.fixture
def picture_file(picture: Image.Image, tmp_path: Path) -> Path:
    picture.save(tmp_path / "picture.png")
    return tmp_path / "picture.png"


@pytest.fixture
def album(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with three images in the folder `album`, one of them deeper down."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "album" / "deep").mkdir(parents=True)
    for number, name in enumerate(("b.PNG", "a.png", "deep/c.png")):
        pixels = np.random.default_rng(number).integers(0, 256, (20, 30, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "album" / name, format="PNG")
    (tmp_path / "album" / "notes.txt").write_text("no image")
    (tmp_path / "album" / ".hidden.png").write_text("no image")
    (tmp_path / "album" / "deep" / ".thumbs").mkdir()
    (tmp_path / "album" / "deep" / ".thumbs" / "c.png").write_text("no image")
    return tmp_path


@pytest.fixture
def run(bundle_path: Path, engines: list[FakeEngine], capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command line on the fake bundle: exit code, stdout, stderr."""

    def run_words(*words: object, bundle: Path | None = bundle_path) -> tuple[int, str, str]:
        chosen = [] if bundle is None else ["-m", str(bundle)]
        code = main([*map(str, words), *chosen])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run_words


@pytest.fixture
def batch(bundle_path: Path, engines: list[FakeEngine], capsys: pytest.CaptureFixture[str]) -> Batch:
    """Runs a batch of short answers on the fake bundle: exit code, lines of stdout, stderr."""

    def run(*words: object) -> tuple[int, list[dict[str, Any]], str]:
        code = main(["batch", "-m", str(bundle_path), "--max-new-tokens", "6", *map(str, words)])
        captured = capsys.readouterr()
        return code, lines_of(captured.out), captured.err

    return run


@pytest.fixture
def talk(
    bundle_path: Path,
    engines: list[FakeEngine],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Talk:
    """Runs a chat on the fake bundle with lines on stdin: exit code, answers (as objects of --json), stderr."""

    def run(*lines: str, words: tuple[object, ...] = ()) -> tuple[int, list[Any], str]:
        give_lines(lines, monkeypatch)
        code = main(["chat", "-m", str(bundle_path), "--json", *SHORT, *map(str, words)])
        captured = capsys.readouterr()
        return code, [json.loads(line) for line in captured.out.splitlines()], captured.err

    return run
