"""Progress bars on stderr, for people only: silent unless stderr is a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm import tqdm


class Bars:
    """Makes one bar per long part of a command; `quiet` makes none."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.disable = True if quiet else None  # None: tqdm looks whether stderr is a terminal

    @contextmanager
    def bytes(self, label: str, total: int) -> Iterator[Callable[[int], None]]:
        """A bar in bytes; the function that it gives takes the bytes done since its last call."""
        with tqdm(
            total=total, desc=label, unit="B", unit_scale=True, unit_divisor=1024, disable=self.disable, leave=False
        ) as bar:
            yield lambda done: bar.update(done) and None

    @contextmanager
    def steps(self, label: str) -> Iterator[Callable[[str, int, int], None]]:
        """A bar of named steps; its function takes the step's name, steps done and steps in all."""
        with tqdm(
            desc=label, total=1, disable=self.disable, leave=False, bar_format="{desc} |{bar}| {n}/{total}"
        ) as bar:

            def progress(step: str, done: int, total: int) -> None:
                bar.total = total
                bar.set_description(f"{label}: {step}", refresh=False)
                bar.update(done - bar.n)

            yield progress

    @contextmanager
    def items(self, label: str, unit: str) -> Iterator[Callable[[int, int], None]]:
        """A bar with rate and time left; its function takes the items done and all, first those done before."""
        with tqdm(desc=label, total=0, unit=unit, disable=self.disable, leave=False) as bar:

            def progress(done: int, total: int) -> None:
                if bar.total != total:
                    bar.reset(total)
                    bar.initial = bar.n = done  # the rate is of what is done from here on
                bar.update(done - bar.n)

            yield progress
