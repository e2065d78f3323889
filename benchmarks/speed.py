"""Ours against each peer, piece by piece of work: rows with median, spread, ratio and distance from the floor."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.agreement import Agreement, Outputs, compare, outputs_of
from benchmarks.measure import Spread, spread, take_turns, times_faster
from benchmarks.peers.table import CONTESTANTS, PEERS, REFERENCE
from benchmarks.setting import NotInstalled, Setting
from benchmarks.worker import Worker, WorkerFailed

Tell = Callable[[str], None]
Floor = Callable[[str, int, str], float]  # work, size, precision -> ms


@dataclass(frozen=True, kw_only=True)
class Work:
    """One piece of work that all can be asked for; `size` is tiles or tokens."""

    name: str
    ability: str
    size: int
    arguments: Mapping[str, Any]
    title: str
    more_rounds: int = 1


WORKS = (
    Work(name="encode-1", ability="encode", size=1, arguments={"tiles": 1}, title="encode one tile"),
    Work(name="prefill-1000", ability="prefill", size=1000, arguments={"tokens": 1000}, title="read 1,000 tokens"),
    Work(
        name="decode-1000",
        ability="decode",
        size=1000,
        arguments={"context": 1000, "steps": 8},
        title="one token after 1,000",
        more_rounds=3,
    ),
)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One contestant at one piece of work, in turns with another."""

    work: str
    contestant: str
    beside: str  # whom it took turns with
    precision: str
    size: int
    device: str
    threads: int
    rounds: int
    versions: dict[str, str]
    ms: Spread
    floor_ms: float
    times_faster: Spread | None  # than the peer; of ours only

    @property
    def times_floor(self) -> float:
        return self.ms.median / self.floor_ms


@dataclass(frozen=True, kw_only=True)
class Told:
    """What is to be said of a peer besides its rows: how near its outputs are, or why it was not timed."""

    peer: str
    agreement: Agreement | None = None
    reason: str = ""


def reference_outputs(setting: Setting) -> Outputs:
    with setting.worker(REFERENCE) as worker:
        return outputs_of(worker)


def against_all(
    setting: Setting, peers: Sequence[str], reference: Outputs, floor: Floor, tell: Tell
) -> Iterator[tuple[list[Row], Told]]:
    """For each peer the rows of its pairs, none if it is not installed or does not agree, and what is to be told."""
    for peer in peers:
        tell(peer)
        try:
            yield against_ours(setting, peer, reference, floor)
        except (NotInstalled, WorkerFailed) as err:
            yield [], Told(peer=peer, reason=str(err).strip().splitlines()[-1])


def against_ours(setting: Setting, peer: str, reference: Outputs, floor: Floor) -> tuple[list[Row], Told]:
    with setting.worker(peer) as worker:
        agreement = compare(outputs_of(worker), reference, CONTESTANTS[peer].precision)
        if not agreement.reached:
            return [], Told(peer=peer, agreement=agreement, reason="its outputs differ too much: not timed")
        pairs = [against(setting, f"ours {ours}", peer, worker, floor) for ours in PEERS[peer].against]
        return [row for pair in pairs for row in pair], Told(peer=peer, agreement=agreement)


def our_agreements(setting: Setting, reference: Outputs) -> list[Told]:
    """Of every precision of ours that any peer is set against."""
    said = []
    for precision in sorted({precision for peer in PEERS.values() for precision in peer.against}):
        with setting.worker(f"ours {precision}") as worker:
            agreement = compare(outputs_of(worker), reference, precision)
        said.append(Told(peer=f"ours {precision}", agreement=agreement))
    return said


def against(setting: Setting, ours: str, peer: str, theirs: Worker, floor: Floor) -> Iterator[Row]:
    """Both rows of every piece of work that both can do."""
    with setting.worker(ours) as mine:
        workers = {ours: mine, peer: theirs}
        versions = {name: worker.ask("versions") for name, worker in workers.items()}
        for work in WORKS:
            if not all(work.ability in worker.abilities for worker in workers.values()):
                continue
            turns = {name: _turn(worker, work) for name, worker in workers.items()}
            found = take_turns(turns, setting.rounds * work.more_rounds)
            for name, other in ((ours, peer), (peer, ours)):
                precision = CONTESTANTS[name].precision
                yield Row(
                    work=work.name,
                    contestant=name,
                    beside=other,
                    precision=precision,
                    size=work.size,
                    device="cpu",
                    threads=setting.threads,
                    rounds=len(found[name]),
                    versions=versions[name],
                    ms=spread(found[name]),
                    floor_ms=floor(work.ability, work.size, precision),
                    times_faster=times_faster(found[ours], found[peer]) if name == ours else None,
                )


def _turn(worker: Worker, work: Work) -> Callable[[], float]:
    return lambda: float(worker.ask(work.ability, **work.arguments))


def as_dict(row: Row) -> dict[str, Any]:
    return {**asdict(row), "times_floor": row.times_floor}
