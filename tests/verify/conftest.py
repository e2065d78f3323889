"""One thread for torch, a home for stamps, and models and references that several tests share."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from verify_bundles import RandomCheckpoint, random_checkpoint, small_config

from ovexport.precision.policy import PRECISIONS
from ovexport.verify.reference import Reference, make_reference


@pytest.fixture(autouse=True)
def _one_thread_and_own_home(one_thread_and_own_home: None) -> None:
    """For every test of this folder."""


@pytest.fixture(scope="session")
def checkpoints() -> Callable[[int], RandomCheckpoint]:
    """A seed's random model: untied, so that greedy answers are no fixed point."""
    return cache(lambda seed: random_checkpoint(small_config(tied=seed % 2 == 1), seed))


@pytest.fixture(scope="session")
def references(checkpoints: Callable[[int], RandomCheckpoint]) -> Callable[[int, str], Reference]:
    def make(seed: int, precision: str) -> Reference:
        policies = {"ort": PRECISIONS["ort"][precision]}
        return make_reference(checkpoints(seed), seed=seed, policies=policies)

    return cache(make)


@pytest.fixture
def bundle_folder(tmp_path: Path) -> Path:
    return tmp_path / "bundle"
