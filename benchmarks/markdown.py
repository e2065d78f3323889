"""The tables of a report, each a text that is empty where there is nothing to tell."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from benchmarks.curves import LONG_ROUNDS, NOT_TIMES, WIDE, Curve, is_wide
from benchmarks.floors import DEFINITION
from benchmarks.limits import Limits
from benchmarks.measure import Spread, short
from benchmarks.peers.table import CONTESTANTS
from benchmarks.pictures import STAGES, Answer
from benchmarks.ran import Ran
from benchmarks.scaled import Scaled
from benchmarks.speed import Row, Told

MARK = "†"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [list(head), ["---"] * len(head), *map(list, rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def machine(
    weights: str, machine: Mapping[str, str | int], versions: Mapping[str, str], failed: Sequence[str] = ()
) -> str:
    where = ", ".join(f"{name} {value}" for name, value in machine.items())
    lost = "".join(f"\n**Not measured**: {part}." for part in failed)
    return f"Weights: {weights}. Machine: {where}.\nMeasured by: {listed(versions)}.{lost}"


def contestants(ran: Sequence[Ran]) -> str:
    """What holds for all rows of a contestant."""
    rows = [(one.contestant, one.precision, one.device, str(one.threads), listed(one.versions)) for one in ran]
    head = ("contestant", "precision", "device", "threads", "versions")
    return "## Who was measured\n\n" + table(head, rows) if rows else ""


def limits(limits: Limits, apart: Sequence[str]) -> str:
    rates = [(f"{name} products", f"{short(rate)} GOP/s") for name, rate in limits.gop_per_s.items()]
    found = table(("measured", limits.device), [("reading", f"{limits.read_gb_per_s:.1f} GB/s"), *rates])
    said = "Measured before and after each part, in fresh processes; the best of each counts."
    if apart:
        said += f" The machine was not left alone: {'; '.join(apart)}."
    return f"## Limits\n\n{found}\n\n{said}\n\n{DEFINITION}"


def agreement(told: Sequence[Told]) -> str:
    """A contestant that was compared several times and always agreed has one line."""
    rows = []
    for one in {(one.peer, one.reason): one for one in told}.values():
        found = one.agreement
        values = (
            (found.features, found.least_features, found.logits, found.resumed, found.least) if found else [None] * 5
        )
        rows.append((one.peer, *("" if value is None else f"{value:.5f}" for value in values), one.reason))
    head = ("contestant", "features", "at least", "logits", "after going back", "at least", "")
    return f"## How near to transformers in float32 (cosine, worst position)\n\n{table(head, rows)}" if rows else ""


def work(name: str, title: str, rows: Sequence[Row], times_floor: Callable[[Row], float]) -> str:
    """A line for each pair: theirs, ours, and how many times faster."""
    pairs = [row for row in rows if row.work == name and row.times_faster is not None]
    lines = []
    for mine in pairs:
        theirs = next(
            row for row in rows if (row.work, row.contestant, row.beside) == (name, mine.beside, mine.contestant)
        )
        cells = [(row.contestant, row.precision, f"{row.ms}", f"{times_floor(row):.1f}") for row in (theirs, mine)]
        lines.append((f"{mine.size:,}", str(mine.rounds), *cells[0], *cells[1], f"{mine.times_faster}"))
    one = ("precision", "ms (quartiles)", "x floor")
    size = "tiles" if name.startswith("encode") else "tokens"
    head = (size, "rounds", "peer", *one, "ours", *one, "times faster (quartiles)")
    return f"## {title[0].upper()}{title[1:]}\n\n{table(head, lines)}" if lines else ""


def answers(answers: Sequence[Answer], floors_of: Callable[[Answer], dict[str, float]]) -> str:
    if not answers:
        return ""
    head = ("contestant", "precision", *STAGES, "first token, ms", "peak, MB", "open, ms", "imports, ms")
    rows = []
    for answer in answers:
        floors = floors_of(answer)
        stages = [
            f"{answer.stages_ms[stage]}{f', {floors[stage]:.1f} x floor' if stage in floors else ''}"
            for stage in STAGES
        ]
        rest = (answer.stages_ms["first_token"], answer.peak_mb, answer.open_ms, answer.import_ms)
        rows.append((answer.contestant, answer.precision, *stages, *map(str, rest)))
    first = answers[0]
    title = (
        f"## A picture of 640 x 480 to the first token ({first.tiles} tiles, {first.tokens:,} tokens), "
        f"{first.rounds} fresh processes each"
    )
    return f"{title}\n\n{table(head, rows)}"


def scaled(scaled: Sequence[Scaled], times_floor: Callable[[Scaled], float]) -> str:
    rows = [
        (
            row.title,
            f"{row.size:,}",
            row.contestant,
            row.precision,
            str(row.rounds),
            f"{row.ms}",
            f"{times_floor(row):.1f}",
        )
        for row in scaled
    ]
    head = ("28 layers", "tokens", "contestant", "precision", "rounds", "ms (quartiles)", "x floor")
    return f"## The 7B shape, from one and two of its layers\n\n{table(head, rows)}" if rows else ""


def curves(curves: Sequence[Curve]) -> str:
    parts = []
    for curve in curves:
        exponents = curve.exponents()
        rows = [("rounds", *map(str, curve.rounds), "")]
        for name, values in curve.series.items():
            grows = "" if name in NOT_TIMES else f"{exponents[name]:.2f} over {curve.over(name)}"
            rows.append((name, *map(_point, values), grows))
        head = (curve.x_name, *(short(x) for x in curve.x), "exponent")
        notes = "".join(f"\n\n{note[0].upper()}{note[1:]}." for note in curve.notes)
        title = f"### Over {curve.x_name}: {curve.contestant} ({curve.precision})"
        parts.append(f"{title}\n\n{table(head, rows)}{notes}")
    if not parts:
        return ""
    legend = (
        f"Medians and quartiles; {MARK} marks quartiles that are more than {WIDE:.0%} of the median apart. Points that "
        f"take over a minute have {LONG_ROUNDS} rounds. Exponents are over the work that was done."
    )
    return "\n\n".join(["## Cost over work (ms)", legend, *parts])


def _point(value: Spread) -> str:
    if value.low == value.high:
        return short(value.median)
    return f"{value}{f' {MARK}' if is_wide(value) else ''}"


def settings(told: Sequence[Told]) -> str:
    names = dict.fromkeys(one.peer for one in told if CONTESTANTS[one.peer].settings)
    rows = [(name, CONTESTANTS[name].settings, CONTESTANTS[name].notes) for name in names]
    return f"## How the peers are set up\n\n{table(('peer', 'settings', 'notes'), rows)}" if rows else ""


def listed(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {number}" for name, number in versions.items())
