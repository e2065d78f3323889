"""Shared work is done once, by pieces that make up the whole, and raises what it raises."""

from __future__ import annotations

import random

import pytest

from ovrun.tiling import threads


@pytest.mark.parametrize("cores", [1, 3])
def test_each_item_once(cores: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "_cores", lambda: cores)
    done: list[int] = []
    threads.for_each(done.append, range(50), pixels=threads.LEAST_PIXELS)
    assert sorted(done) == list(range(50))


@pytest.mark.parametrize("seed", range(20))
def test_shares(seed: int) -> None:
    rng = random.Random(seed)
    length, most = rng.randint(1, 100), rng.randint(1, 20)
    found = threads.shares(length, most)
    assert [i for start, stop in found for i in range(start, stop)] == list(range(length))
    lengths = [stop - start for start, stop in found]
    assert len(found) <= most and min(lengths) > 0 and max(lengths) - min(lengths) <= 1


def test_what_a_thread_raises_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "_cores", lambda: 2)

    def work(item: int) -> None:
        if item == 3:
            raise MemoryError

    with pytest.raises(MemoryError):
        threads.for_each(work, range(9), pixels=threads.LEAST_PIXELS)
