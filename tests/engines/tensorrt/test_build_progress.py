"""Nested phases as one share, and a build that is told of and stopped from the caller's thread."""

from __future__ import annotations

import threading
import time

import pytest

from ovengines.tensorrt import monitor
from ovengines.tensorrt.monitor import STEPS, Phases, run_watched


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitor, "_POLL_S", 0.005)


def test_phases_within_phases() -> None:
    phases, seen = Phases(), []
    phases.start("build", None, 4)
    for part in range(4):
        phases.start("subgraph", "build", 2)
        for step in range(2):
            phases.start("tactics", "subgraph", 5)
            for tactic in range(5):
                assert phases.step("tactics", tactic)
                seen.append(phases.done())
            phases.finish("tactics")
            phases.step("subgraph", step)
        phases.finish("subgraph")
        phases.step("build", part)
        seen.append(phases.done())
    assert seen == sorted(seen) and seen[-1] == STEPS
    assert seen[0] == STEPS // 40 and seen[4] == STEPS // 8


def test_names_that_come_again_or_lead_in_circles_do_no_harm() -> None:
    phases = Phases()
    phases.start("a", "b", 2)
    phases.start("b", "a", 0)
    phases.step("b", 0)
    phases.step("unknown", 3)
    phases.finish("unknown")
    assert 0 <= phases.done() <= STEPS


def test_a_build_is_told_of_in_the_callers_thread() -> None:
    phases, told = Phases(), []

    def work() -> str:
        phases.start("build", None, 10)
        for step in range(10):
            phases.step("build", step)
            time.sleep(0.01)
        return "engine"

    def tell(done: int) -> None:
        assert threading.current_thread() is threading.main_thread()
        told.append(done)

    assert run_watched(work, phases, tell) == "engine"
    assert told == sorted(told) and told[-1] == STEPS


def test_an_interrupt_stops_the_build_first() -> None:
    phases, stopped = Phases(), threading.Event()

    def work() -> None:
        phases.start("build", None, 10_000)
        for step in range(10_000):
            if not phases.step("build", step):
                stopped.set()
                return
            time.sleep(0.002)

    def tell(done: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_watched(work, phases, tell)
    assert stopped.is_set(), "the thread is over when the caller goes on"


def test_what_the_build_raises_is_raised() -> None:
    def work() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        run_watched(work, Phases(), lambda done: None)
