"""One thread, and the tiny models and checkpoints of tests/model and tests/checkpoint for these tests too."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from parity_pair import Pair

for area in ("model", "checkpoint"):
    sys.path.append(str(Path(__file__).resolve().parent.parent / area))


@pytest.fixture(autouse=True)
def _one_thread_and_own_home(one_thread_and_own_home: None) -> None:
    """For every test of this folder."""


@pytest.fixture(scope="session")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Pair]:
    """The pair of a name in `parity_shapes.SHAPES`, made once."""
    from parity_pair import make_pair

    return cache(lambda name: make_pair(name, tmp_path_factory.mktemp(name)))
