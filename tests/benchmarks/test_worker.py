"""A worker: a process of its own whose printing, errors and end are told apart from its answers."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np
import pytest

from benchmarks.agreement import compare, outputs_of
from benchmarks.worker import Worker, WorkerFailed

FAKE = "tests.benchmarks.fake_contestant"


@pytest.fixture
def worker() -> Iterator[Worker]:
    with Worker(threads=3) as opened:
        opened.start(FAKE, threads=3)
        yield opened


def test_answers_whatever_is_printed(worker: Worker) -> None:
    from tests.benchmarks.fake_contestant import FEATURES_1PD

    np.testing.assert_array_equal(worker.ask("features", tiles=1), FEATURES_1PD)
    assert worker.ask("encode", tiles=4) == 8.0
    assert worker.ask("versions") == {"fake": "1.0", "threads": "3"}


def test_knows_what_the_contestant_lacks(worker: Worker) -> None:
    assert worker.abilities == {"features", "logits", "encode", "decode", "prefill"}


def test_opening_is_told_apart_from_importing() -> None:
    with Worker(threads=1) as opened:
        begun = opened.start(FAKE, threads=1)
    assert begun["import_ms"] > 0 and begun["open_ms"] >= 0


def test_an_error_has_its_traceback_and_ends_nothing(worker: Worker) -> None:
    with pytest.raises(WorkerFailed, match=r"ValueError: no room for 5"):
        worker.ask("decode", context=5, steps=1)
    assert worker.ask("encode", tiles=1) == 2.0


def test_the_end_of_the_process_is_told(worker: Worker) -> None:
    with pytest.raises(WorkerFailed, match="ended with 7"):
        worker.ask("prefill", tokens=1)


def test_a_request_to_a_dead_process_says_so_and_closing_it_does_no_harm() -> None:
    """What could not be written is still in the buffer when the pipe is closed."""
    with pytest.raises(WorkerFailed, match="ended with 7"), Worker(threads=1) as opened:
        opened.start(FAKE, threads=1)
        with pytest.raises(WorkerFailed):
            opened.ask("prefill", tokens=1)
        opened.ask("encode", tiles=1)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no such call")
@pytest.mark.parametrize("threads", [1, 2])
def test_a_process_keeps_to_as_many_cores_as_threads(threads: int) -> None:
    mine = os.sched_getaffinity(0)
    with Worker(threads=threads) as opened:
        assert opened.run(FAKE, "cores") == sorted(mine)[:threads]
    assert os.sched_getaffinity(0) == mine


def test_a_peak_is_of_what_follows_its_start(worker: Worker) -> None:
    worker.run(FAKE, "touch", megabytes=300)
    high_mb = worker.peak_mb()
    if not worker.start_peak():
        pytest.skip("this kernel does not set the mark back")
    assert worker.peak_mb() < high_mb - 200
    worker.run(FAKE, "touch", megabytes=100)
    assert worker.peak_mb() < high_mb - 100


def test_a_module_may_prepare_without_a_contestant() -> None:
    with Worker(threads=1) as opened:
        assert opened.run(FAKE, "prepare", target="there") == "THERE"


def test_its_peak_is_its_own(worker: Worker) -> None:
    before_mb = worker.peak_mb()
    held = np.ones(200_000_000 // 8)
    assert held.all() and worker.peak_mb() < before_mb + 50


def test_one_that_gives_something_else_does_not_agree() -> None:
    with Worker(threads=1) as one, Worker(threads=1) as other:
        one.start(FAKE, threads=1)
        other.start(FAKE, threads=1, sign=-1.0)
        reference, wrong = outputs_of(one), outputs_of(other)
    assert compare(reference, reference, "fp32").reached
    found = compare(wrong, reference, "fp32")
    assert not found.reached and found.logits == pytest.approx(1) and found.features == pytest.approx(-1)
