"""Fixtures of the runtime's tests: a bundle on disk, sessions on fake engines, a picture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fake_engine import FakeEngine, write_bundle
from PIL import Image

from ovrun.session import Session


@pytest.fixture(scope="session")
def bundle_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    return write_bundle(home / "bundles" / "fake")


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[FakeEngine]:
    """Makes sessions run on fake engines, and lists those that were opened."""
    opened: list[FakeEngine] = []

    def open_fake(bundle: object, device: str, threads: int | None) -> FakeEngine:
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
