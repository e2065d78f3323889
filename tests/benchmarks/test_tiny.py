"""The embedded model in workers: ours and transformers give the same, and can be asked for everything."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from benchmarks.agreement import compare, outputs_of
from benchmarks.peers.table import PEERS, REFERENCE
from benchmarks.picture import write_picture
from benchmarks.worker import Worker
from ovexport.embedded import EMBEDDED_MODEL


@pytest.fixture(scope="module")
def ours(tiny_bundle: Path) -> Iterator[Worker]:
    with Worker(threads=1) as worker:
        worker.start("benchmarks.peers.ours_loads", folder=str(tiny_bundle), threads=1)
        yield worker


@pytest.fixture(scope="module")
def theirs() -> Iterator[Worker]:
    peer = PEERS[REFERENCE]
    with Worker(threads=1) as worker:
        worker.start(peer.full_module, folder=str(EMBEDDED_MODEL), threads=1, **peer.options)
        yield worker


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_picture(tmp_path_factory.mktemp("pictures") / "picture.jpg", 320, 240))


def test_outputs_agree(ours: Worker, theirs: Worker) -> None:
    found = compare(outputs_of(ours), outputs_of(theirs), "fp32")
    assert found.reached and found.features is not None and found.logits is not None


def test_tiles_agree(ours: Worker, theirs: Worker, picture: str) -> None:
    np.testing.assert_allclose(ours.ask("tiles", image=picture), theirs.ask("tiles", image=picture), atol=1e-5)


def test_every_piece_of_work_is_done_by_both(ours: Worker, theirs: Worker) -> None:
    for worker in (ours, theirs):
        for call, arguments in (
            ("encode", {"tiles": 2}),
            ("prefill", {"tokens": 40}),
            ("decode", {"context": 40, "steps": 3}),
            ("decode", {"context": 20, "steps": 3}),
            ("versions", {}),
        ):
            assert worker.ask(call, **arguments)


def test_an_answer_has_its_stages(ours: Worker, theirs: Worker, picture: str) -> None:
    ids = ours.ask("prompt_ids", image=picture)
    for worker in (ours, theirs):
        spent = worker.ask("answer", image=picture, ids=ids)
        assert {"preprocess", "encode", "project", "prefill", "first_token"} <= set(spent)
        assert spent["encode"] > 0 and spent["prefill"] < spent["first_token"]


def test_an_answer_that_copies_is_given_whole(ours: Worker) -> None:
    assert ours.ask("copy", context=300, tokens=40, drafted=8) > 0


def test_loads(ours: Worker) -> None:
    assert ours.ask("picture", rows=1, columns=2)["tiles"] == 3
    assert ours.ask("clip", frames=2)["tiles"] == 2
    assert ours.ask("batch", rows=2, steps=2)["step"] > 0
    assert set(ours.ask("turns", count=2)) == {"turn_1", "turn_2"}
