"""The 7B shape without its 28 layers: what one and two of them cost tells what all do, in a sixth of the memory."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from benchmarks.agreement import opened
from benchmarks.floors import Need, Shape
from benchmarks.measure import Spread, spread, take_turns
from benchmarks.ran import Ran, ran
from benchmarks.setting import Setting
from benchmarks.shapes import QWEN2_7B, SO400M
from benchmarks.speed import WORKS

ONE, TWO = "7b-1-layer", "7b-2-layers"


@dataclass(frozen=True, kw_only=True)
class Scaled(Ran):
    """A piece of work with all layers; its spread is of what each round comes to."""

    title: str
    size: int
    rounds: int
    ms: Spread
    need: Need  # by the precision's name, as there are no files of all layers


def measure(setting: Setting, ours: str = "ours int4") -> list[Scaled]:
    """The language model's pieces of work. Raises Disagrees."""
    shapes = {shape: dataclasses.replace(setting, shape=shape, checkpoint=None) for shape in (ONE, TWO)}
    whole, found = Shape(tower=SO400M, language=QWEN2_7B), []
    with opened(shapes[ONE], ours) as one, opened(shapes[TWO], ours) as two:
        who = ran(setting, ours, one)
        for work in (work for work in WORKS if work.ability != "encode"):
            turns = {
                name: lambda worker=worker, work=work: float(worker.ask(work.ability, **work.arguments))
                for name, worker in ((ONE, one), (TWO, two))
            }
            spent = take_turns(turns, setting.rounds)
            all_ms = [of_all_layers(a, b) for a, b in zip(spent[ONE], spent[TWO], strict=True)]
            need = whole.need(work.ability, work.size, who["precision"])
            found.append(
                Scaled(**who, title=work.title, size=work.size, rounds=len(all_ms), ms=spread(all_ms), need=need)
            )
    return found


def of_all_layers(one_ms: float, two_ms: float, layers: int = QWEN2_7B.num_layers) -> float:
    """Head and tables are in both, so that the difference is a layer."""
    return one_ms + (layers - 1) * (two_ms - one_ms)
