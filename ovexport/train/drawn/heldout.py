"""The held-out questions of every family, the same ones for the same seed: what ov-tiny is measured with.

Knows nothing of models or of how answers are compared.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Mapping

from ovexport.train.drawn.family import Drawing, Exchange
from ovexport.train.drawn.kind import Kind

_MAX_DRAWINGS_PER_PAIR = 200  # a family that shows up more seldom than this is a bug of its generator


def heldout_drawings(kinds: Mapping[str, Kind], per_family: int, seed: int = 0) -> Iterator[tuple[Drawing, Exchange]]:
    """`per_family` held-out questions of every family, kind by kind.

    The kinds that ask a family share its questions evenly; a drawing gives at most one question of a family.
    """
    askers = Counter(family.name for kind in kinds.values() for family in kind.families)
    left = dict.fromkeys(askers, per_family)
    for name, kind in kinds.items():
        quota = Counter({f.name: -(-left[f.name] // askers[f.name]) for f in kind.families})
        for family in kind.families:
            left[family.name] -= quota[family.name]
            askers[family.name] -= 1
        yield from _pairs(name, kind, quota, seed)


def _pairs(name: str, kind: Kind, quota: Counter[str], seed: int) -> Iterator[tuple[Drawing, Exchange]]:
    for index in range(_MAX_DRAWINGS_PER_PAIR * quota.total()):
        if quota.total() == 0:
            return
        rng = random.Random(f"held-out {name} {seed} {index}")
        drawing = kind.draw(rng, held_out=True)
        for family in dict.fromkeys(exchange.family for exchange in drawing.exchanges):
            if quota[family] > 0:
                quota[family] -= 1
                yield drawing, rng.choice([e for e in drawing.exchanges if e.family == family])
    if quota.total():
        raise ValueError(f"kind {name} hardly ever asks {', '.join(+quota)}")
