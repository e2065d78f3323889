"""Sums over the records of a mixture: per file, per combination of the taxonomy's levels, and of all.

Plain data with its arithmetic and its JSON; how it is found is in `stats`, how it looks in `stats_table` and `plots`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from ovexport.train.data.published import Figure
from ovexport.train.data.records import LEVELS
from ovexport.train.data.taxonomy import in_order

READ = "read"
PUBLISHED = "published count"  # asked for, whether the file is here or not
NOT_HERE = "published count, file not here"
UNKNOWN = "file not here, no count published"

Combination = tuple[str, ...]  # a value of each level, in the order of LEVELS


@dataclass(frozen=True, kw_only=True)
class Tally:
    """Of published counts only `records` is known; `frames` stays 0 while media are not opened."""

    records: int = 0
    exchanges: int = 0
    words: int = 0
    images: int = 0
    videos: int = 0
    frames: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            records=self.records + other.records,
            exchanges=self.exchanges + other.exchanges,
            words=self.words + other.words,
            images=self.images + other.images,
            videos=self.videos + other.videos,
            frames=self.frames + other.frames,
        )


@dataclass(frozen=True, kw_only=True)
class Broken:
    """A record that nothing can be learned from; `id` is "" where it could not be read."""

    file: str
    index: int
    id: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class EntryStats:
    """One file of the mixture after sampling; `source` says where its numbers are from."""

    name: str
    sampling_strategy: str
    source: str
    tallies: Mapping[Combination, Tally] = field(default_factory=dict)
    broken: tuple[Broken, ...] = ()
    unknown_keys: Mapping[str, int] = field(default_factory=dict)

    @property
    def total(self) -> Tally:
        return sum(self.tallies.values(), Tally())

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "sampling_strategy": self.sampling_strategy,
            "source": self.source,
            "total": asdict(self.total),
            "levels": _levels_json([self]),
            "broken": len(self.broken),
            "unknown_keys": dict(self.unknown_keys),
        }


@dataclass(frozen=True, kw_only=True)
class MixtureStats:
    """`figure` is the paper's own list, where published counts were asked for and there is one."""

    name: str
    entries: tuple[EntryStats, ...]
    figure: Figure | None = None
    media_opened: bool = False

    @property
    def total(self) -> Tally:
        return sum((entry.total for entry in self.entries), Tally())

    @property
    def broken(self) -> tuple[Broken, ...]:
        return tuple(broken for entry in self.entries for broken in entry.broken)

    def names(self, source: str) -> tuple[str, ...]:
        """The files whose numbers are from this source."""
        return tuple(entry.name for entry in self.entries if entry.source == source)

    def level(self, level: str) -> dict[str, Tally]:
        """The sum of each value of a level, in the order of the taxonomy."""
        return level_sums(level, self.entries)

    def as_json(self) -> dict[str, Any]:
        return {
            "mixture": self.name,
            "total": asdict(self.total),
            "levels": _levels_json(self.entries),
            "entries": [entry.as_json() for entry in self.entries],
            "not_here": [*self.names(NOT_HERE), *self.names(UNKNOWN)],
            "unknown_size": list(self.names(UNKNOWN)),
            "broken": [asdict(broken) for broken in self.broken],
            "media_opened": self.media_opened,
            "figure": asdict(self.figure) if self.figure else None,
        }


def level_sums(level: str, entries: Iterable[EntryStats]) -> dict[str, Tally]:
    """The sum of each value of a level over entries, in the order of the taxonomy."""
    place, sums = LEVELS.index(level), dict[str, Tally]()
    for entry in entries:
        for combination, tally in entry.tallies.items():
            sums[combination[place]] = sums.get(combination[place], Tally()) + tally
    return {value: sums[value] for value in in_order(level, sums)}


def _levels_json(entries: Iterable[EntryStats]) -> dict[str, dict[str, dict[str, int]]]:
    chosen = list(entries)
    return {level: {value: asdict(tally) for value, tally in level_sums(level, chosen).items()} for level in LEVELS}
