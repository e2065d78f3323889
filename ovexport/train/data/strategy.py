"""The sampling strategies of a mixture: which records of a file take part.

Pure arithmetic on lengths, as released (LLaVA-NeXT `LazySupervisedDataset`); knows no files.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ovengines.errors import ExitCode, OVError

_FORM = re.compile(r"(first|end|random):([0-9]{1,12})(%?)")
FORMS = "all, first:N, end:N, random:N (N a number of records, or a percentage like 10%)"


@dataclass(frozen=True, kw_only=True)
class Strategy:
    """kind is all, first, end or random; amount counts records, or percent of them."""

    kind: str = "all"
    amount: int = 0
    percent: bool = False

    def count(self, length: int) -> int:
        """How many of `length` records; a part of a record is a whole one."""
        if self.kind == "all":
            return length
        return min(length, -(-self.amount * length // 100) if self.percent else self.amount)


def parse_strategy(text: str) -> Strategy:
    """Raises OVError (BAD_INPUT) for all but the four forms. (Released, `end:0` means all; here it is an error.)"""
    if text == "all":
        return Strategy()
    found = _FORM.fullmatch(text) if isinstance(text, str) else None
    amount = int(found[2]) if found else 0
    if not found or amount < 1 or (found[3] and amount > 100):
        raise OVError(ExitCode.BAD_INPUT, f"{text!r} is no sampling strategy", f"use one of {FORMS}")
    return Strategy(kind=found[1], amount=amount, percent=bool(found[3]))


def select(strategy: Strategy, length: int, seed: str) -> Sequence[int]:
    """The indices of the records that take part, in order.

    `random` shuffles with a generator of its own, seeded with `seed`. (Released, the global generator is used, and
    which records take part depends on everything that ran before.)
    """
    return _SELECT[strategy.kind](length, strategy.count(length), seed)


def _random(length: int, count: int, seed: str) -> Sequence[int]:
    order = list(range(length))
    random.Random(seed).shuffle(order)
    return order[:count]


_SELECT: dict[str, Callable[[int, int, str], Sequence[int]]] = {
    "all": lambda length, count, seed: range(length),
    "first": lambda length, count, seed: range(count),
    "end": lambda length, count, seed: range(length - count, length),
    "random": _random,
}
