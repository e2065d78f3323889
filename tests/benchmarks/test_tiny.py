"""The embedded model in workers: ours and transformers give the same, and can be asked for everything."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.agreement import compare, outputs_of
from benchmarks.inputs import random_ids
from benchmarks.peers.forced import forced_row, forced_rows
from benchmarks.peers.ours import Ours
from benchmarks.peers.table import PEERS, REFERENCE
from benchmarks.picture import write_picture
from benchmarks.worker import Worker
from ovengines import open_bundle
from ovexport.embedded import EMBEDDED_MODEL
from ovrun.session import Session


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
    assert found.reached and None not in (found.features, found.logits, found.resumed)


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
    """Twice, as the second time all but the last token of the prompt is in the cache."""
    for drafted in (8, 0):
        assert ours.ask("copy", context=300, tokens=40, drafted=drafted) > 0


def test_a_copied_answer_goes_through_the_runtimes_own_look_up(tiny_bundle: Path) -> None:
    """Fewer steps than tokens, since its drafts are right; as many where none are made."""
    with Session.open(tiny_bundle, device="cpu", threads=1) as session:
        engine, rows = forced_rows(session.engine, 500)
        prompt = random_ids(300)
        engine.text = prompt + prompt[200:240]
        steps = []
        for drafted in (8, 0):
            row = forced_row(session, prompt, 40, drafted)
            rows.add(row)
            list(rows.answers(row))
            assert list(row.answer.token_ids) == prompt[200:240]
            steps.append(row.num_steps)
    assert steps[0] < 15 and steps[1] == 39


def test_the_first_token_is_timed_by_the_clock_on_the_wall(
    tiny_bundle: Path, picture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What comes after the runtime's own stages counts too."""
    contestant = Ours(str(tiny_bundle), threads=1)
    generate = contestant._session.generate

    def slow(**arguments: Any) -> Any:
        result = generate(**arguments)
        time.sleep(0.3)
        return result

    monkeypatch.setattr(contestant._session, "generate", slow)
    spent = contestant.answer(picture, [])
    assert spent["first_token"] > 300 and spent["first_token"] >= sum(spent.values()) - spent["first_token"]


def test_a_step_reads_the_decoders_file_and_its_cache(ours: Worker, tiny_bundle: Path) -> None:
    model = open_bundle(str(tiny_bundle)).manifest.model
    found = ours.ask("decoder_bytes")
    assert found["weights"] == (tiny_bundle / "decoder.onnx.data").stat().st_size
    assert found["per_token"] == 4 * 2 * model.num_layers * model.num_kv_heads * model.head_dim


def test_loads(ours: Worker) -> None:
    assert ours.ask("picture", rows=1, columns=2)["tiles"] == 3
    assert ours.ask("clip", frames=2)["tiles"] == 2
    assert ours.ask("batch", rows=2, steps=2)["step"] > 0
    assert set(ours.ask("turns", count=2)) == {"turn_1", "turn_2"}
