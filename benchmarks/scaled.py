"""The 7B shape without its 28 layers: what one and two of them cost tells what all do, in a sixth of the memory."""

from __future__ import annotations

import dataclasses

from benchmarks.measure import spread, take_turns
from benchmarks.setting import Setting
from benchmarks.shapes import QWEN2_7B
from benchmarks.speed import WORKS

ONE, TWO = "7b-1-layer", "7b-2-layers"


def measure(setting: Setting, ours: str = "ours int4") -> dict[str, float]:
    """Milliseconds of the language model's pieces of work with all layers."""
    shapes = {shape: dataclasses.replace(setting, shape=shape, checkpoint=None) for shape in (ONE, TWO)}
    with shapes[ONE].worker(ours) as one, shapes[TWO].worker(ours) as two:
        found = {}
        for work in (work for work in WORKS if work.ability != "encode"):
            turns = {
                name: lambda worker=worker, work=work: float(worker.ask(work.ability, **work.arguments))
                for name, worker in ((ONE, one), (TWO, two))
            }
            spent = take_turns(turns, setting.rounds)
            found[work.title] = of_all_layers(spread(spent[ONE]).median, spread(spent[TWO]).median)
    return found


def of_all_layers(one_ms: float, two_ms: float, layers: int = QWEN2_7B.num_layers) -> float:
    """Head and tables are in both, so that the difference is a layer."""
    return one_ms + (layers - 1) * (two_ms - one_ms)
