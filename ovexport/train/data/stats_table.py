"""The numbers of a mixture as text for a terminal: a table per level of the taxonomy, and one of the files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict

from ovexport.train.data.published import Figure
from ovexport.train.data.records import LEVELS
from ovexport.train.data.tally import NOT_HERE, PUBLISHED, READ, UNKNOWN, MixtureStats, Tally

SHOWN_BROKEN = 20
NO_NUMBER = "-"
_MARKS = {PUBLISHED: "*", NOT_HERE: "*", UNKNOWN: "?"}
_LEGEND = {
    PUBLISHED: "* published counts, files not looked at",
    NOT_HERE: "* published count, files not here",
    UNKNOWN: "? not read, and no count of it is published: left out of all sums",
}

Row = tuple[str, ...]


def stats_text(stats: MixtureStats) -> str:
    """Everything, with a blank line between the parts."""
    parts = [_headline(stats)]
    parts += [_table(_level_rows(stats, level)) for level in LEVELS if stats.total.records]
    parts.append(_table(_file_rows(stats)) + "".join(f"\n{line}" for line in _legend(stats)))
    if stats.figure:
        parts.append(_figure_text(stats.figure))
    if stats.broken:
        parts.append("\n".join(_broken_lines(stats)))
    return "\n\n".join(parts)


def _headline(stats: MixtureStats) -> str:
    num_read = len(stats.names(READ))
    return (
        f"{stats.name}: {stats.total.records:,} records after sampling, {num_read} of {len(stats.entries)} files read"
    )


def _columns(stats: MixtureStats) -> Row:
    """Published counts are of records only, so that a mixture that was not read has no other column."""
    if not stats.names(READ):
        return ("records", "share")
    return ("records", "share", "exchanges", "words", "images", "videos", *(["frames"] if stats.media_opened else []))


def _numbers(tally: Tally, stats: MixtureStats) -> Row:
    was_read = tally.exchanges > 0  # every whole record has one
    given = {**asdict(tally), "share": 0}
    counts = {name: f"{count:,}" if was_read or name == "records" else NO_NUMBER for name, count in given.items()}
    counts["share"] = share(tally.records, stats.total.records)
    return tuple(counts[column] for column in _columns(stats))


def share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else NO_NUMBER


def _level_rows(stats: MixtureStats, level: str) -> Iterator[Row]:
    yield (level.replace("_", " "), *_columns(stats))
    for value, tally in stats.level(level).items():
        yield (value, *_numbers(tally, stats))


def _file_rows(stats: MixtureStats) -> Iterator[Row]:
    yield ("file", *_columns(stats), "sampling", "broken")
    for entry in stats.entries:
        name = " ".join([entry.name, *_MARKS.get(entry.source, "")])
        numbers = _numbers(entry.total, stats)
        if entry.source == UNKNOWN:
            numbers = (NO_NUMBER,) * len(numbers)
        num_broken = f"{len(entry.broken):,}" if entry.source == READ else NO_NUMBER
        yield (name, *numbers, entry.sampling_strategy, num_broken)


def _legend(stats: MixtureStats) -> list[str]:
    lines = [line for source, line in _LEGEND.items() if stats.names(source)]
    if stats.names(READ) and stats.names(NOT_HERE):
        lines.append("all columns but records and share are of the files that were read")
    return lines


def _figure_text(figure: Figure) -> str:
    rows: list[Row] = [(f"{figure.level.replace('_', ' ')}, as the paper draws it", "records", "share", "sets")]
    for value, sets in figure.sets.items():
        records = sum(sets.values())
        rows.append((value, f"{records:,}", share(records, figure.total), str(len(sets))))
    num_sets = sum(len(sets) for sets in figure.sets.values())
    return _table([*rows, ("all", f"{figure.total:,}", share(figure.total, figure.total), str(num_sets))])


def _broken_lines(stats: MixtureStats) -> Iterator[str]:
    yield f"{len(stats.broken):,} broken records, left out of all sums" + (
        f"; the first {SHOWN_BROKEN} (--json lists all):" if len(stats.broken) > SHOWN_BROKEN else ":"
    )
    for broken in stats.broken[:SHOWN_BROKEN]:
        named = f" ({broken.id})" if broken.id else ""
        yield f"  {broken.file}, record {broken.index}{named}: {broken.reason}"


def _table(rows: Iterable[Row]) -> str:
    """Columns as wide as they must be: the first to the left, numbers to the right."""
    listed = list(rows)
    widths = [max(len(row[column]) for row in listed) for column in range(len(listed[0]))]
    return "\n".join(
        "  ".join(cell.rjust(width) if column else cell.ljust(width) for column, (cell, width) in enumerate(cells))
        for cells in (list(zip(row, widths, strict=True)) for row in listed)
    )
