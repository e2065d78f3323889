"""What is shared out to threads is done once each, and raises what it raises."""

from __future__ import annotations

import pytest

from ovrun.tiling import threads


@pytest.mark.parametrize("cores", [1, 3])
def test_each_item_once(cores: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "_cores", lambda: cores)
    done: list[int] = []
    threads.for_each(done.append, range(50), pixels=threads.LEAST_PIXELS)
    assert sorted(done) == list(range(50))


def test_what_a_thread_raises_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "_cores", lambda: 2)

    def work(item: int) -> None:
        if item == 3:
            raise MemoryError

    with pytest.raises(MemoryError):
        threads.for_each(work, range(9), pixels=threads.LEAST_PIXELS)
