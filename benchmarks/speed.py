"""Ours against each peer, piece by piece of work: rows with median, spread, ratio and what the work needs at least."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.agreement import Agreement, Disagrees, Outputs, agreed
from benchmarks.floors import Need, Shape
from benchmarks.measure import Spread, spread, take_turns, times_faster
from benchmarks.peers.table import PEERS
from benchmarks.ran import Ran, ran
from benchmarks.setting import NotInstalled, Setting
from benchmarks.worker import Worker, WorkerFailed

Tell = Callable[[str], None]


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
class Row(Ran):
    """One contestant at one piece of work, in turns with another."""

    work: str
    beside: str  # whom it took turns with
    size: int  # tiles, or tokens
    rounds: int
    ms: Spread
    need: Need
    times_faster: Spread | None  # than the peer; of ours only


@dataclass(frozen=True, kw_only=True)
class Told:
    """What is to be said of a contestant besides its rows: how near its outputs are, or why it was not timed."""

    peer: str
    agreement: Agreement | None = None
    reason: str = ""


def against_all(
    setting: Setting, peers: Sequence[str], reference: Outputs, shape: Shape, tell: Tell
) -> Iterator[tuple[list[Row], list[Told]]]:
    """For each peer the rows of its pairs, and what is to be told: of a pair that can't be timed, why."""
    for peer in peers:
        tell(peer)
        rows: list[Row] = []
        told: list[Told] = []
        try:
            with setting.worker(peer) as worker:
                told.append(Told(peer=peer, agreement=agreed(worker, peer, reference)))
                for ours in PEERS[peer].against:
                    with setting.worker(f"ours {ours}") as mine:
                        told.append(Told(peer=f"ours {ours}", agreement=agreed(mine, f"ours {ours}", reference)))
                        rows += against(setting, {f"ours {ours}": mine, peer: worker}, shape)
        except Disagrees as err:
            told.append(Told(peer=err.name, agreement=err.agreement, reason=last_line(err)))
        except (NotInstalled, WorkerFailed, OSError, subprocess.CalledProcessError) as err:
            told.append(Told(peer=peer, reason=last_line(err)))
        yield rows, told


def last_line(err: Exception) -> str:
    return (str(err).strip() or type(err).__name__).splitlines()[-1]


def against(setting: Setting, workers: Mapping[str, Worker], shape: Shape) -> Iterator[Row]:
    """Both rows of every piece of work that both can do; ours is the first of the two."""
    (ours, _), (peer, _) = workers.items()
    who = {name: ran(setting, name, worker) for name, worker in workers.items()}
    reads = {name: reads_of(worker) for name, worker in workers.items()}
    for work in WORKS:
        if not all(work.ability in worker.abilities for worker in workers.values()):
            continue
        turns = {name: _turn(worker, work) for name, worker in workers.items()}
        found = take_turns(turns, setting.rounds * work.more_rounds)
        for name, other in ((ours, peer), (peer, ours)):
            yield Row(
                **who[name],
                work=work.name,
                beside=other,
                size=work.size,
                rounds=len(found[name]),
                ms=spread(found[name]),
                need=shape.need(work.ability, work.size, who[name]["precision"], reads[name]),
                times_faster=times_faster(found[ours], found[peer]) if name == ours else None,
            )


def reads_of(worker: Worker) -> dict[str, float] | None:
    """Bytes of a step, by the contestant's own word where it has one."""
    return worker.ask("decoder_bytes") if "decoder_bytes" in worker.abilities else None


def _turn(worker: Worker, work: Work) -> Callable[[], float]:
    return lambda: float(worker.ask(work.ability, **work.arguments))
