"""What several areas of tests need: bundles of the embedded model, built once per run of the suite, and one thread."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def build_tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A function from a precision to the bundle of ov-tiny in it, through the command line, once per session."""
    from ovexport.cli import main

    folder = tmp_path_factory.mktemp("bundles")

    def build(precision: str) -> Path:
        target = folder / f"ov-tiny-{precision}"
        if not target.exists():
            assert main(["build", "-o", str(target), "--precision", precision, "-q"]) == 0
        return target

    return build


@pytest.fixture(scope="session")
def tiny_bundle(build_tiny: Callable[[str], Path]) -> Path:
    return build_tiny("fp32")


@pytest.fixture
def one_thread_and_own_home(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """One thread for torch, and an empty home for stamps and bundles."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.setenv("OV_HOME", str(tmp_path_factory.mktemp("home")))
    yield
    torch.set_num_threads(threads)
