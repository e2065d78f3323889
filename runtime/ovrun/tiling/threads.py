"""Work on pixels that is shared out to a few threads: Pillow and NumPy let go of Python while they compute."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

MOST_THREADS = 4  # decoding the file, which comes first, has one thread: more would not show
LEAST_PIXELS = 1 << 20  # less is done before threads have started

Item = TypeVar("Item")


def for_each(work: Callable[[Item], object], items: Iterable[Item], *, pixels: int) -> None:
    """`work` for all items, in any order; raises what it raises. `pixels` is about how much there is to do in all."""
    threads = min(MOST_THREADS, _cores())
    if threads == 1 or pixels < LEAST_PIXELS:
        for item in items:
            work(item)
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, items))


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
