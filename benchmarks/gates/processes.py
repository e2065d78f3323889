"""What a process costs: its resident peak, and the time until a bundle is open."""

from __future__ import annotations

from functools import partial

from benchmarks.agreement import check
from benchmarks.build_memory import build_peak_ratio
from benchmarks.gates.gate import Measured
from benchmarks.gates.speed import FEWEST, detail_ms, versions_of
from benchmarks.measure import short, spread, take_turns, times_faster
from benchmarks.peers.table import CONTESTANTS
from benchmarks.picture import write_picture
from benchmarks.setting import Setting
from benchmarks.shapes import random_checkpoint

Versions = dict[str, dict[str, str]]


def answer_peak(setting: Setting, ours: str, peer: str) -> Measured:
    """Share of the resident peak of a fresh process that answers about a picture, tower included. Raises Disagrees."""
    check(setting, (ours, peer))
    image = str(write_picture(setting.folder / "picture.png", 640, 480))
    with setting.worker(ours) as worker:
        ids = worker.ask("prompt_ids", image=image)
    versions: Versions = {}

    def peak_mb(name: str) -> float:
        with setting.worker(name) as worker:
            worker.ask("answer", image=image, ids=ids)
            peak = worker.peak_mb()
            versions.update(versions_of({name: worker}))
        return peak

    found = take_turns({name: partial(peak_mb, name) for name in (ours, peer)}, FEWEST, warm_up=0)
    detail = f"{short(spread(found[ours]).median)} MB against {short(spread(found[peer]).median)} MB"
    return Measured.of(times_faster(found[peer], found[ours]), detail, FEWEST, versions)


def opening(setting: Setting, ours: str, peer: str) -> Measured:
    """Importing the libraries and opening, which is what a user waits for; files are in the page cache, as at a second
    time. What importing takes of it is told. Raises Disagrees."""
    check(setting, (ours, peer))
    imports_ms: dict[str, list[float]] = {ours: [], peer: []}
    versions: Versions = {}

    def open_once(name: str) -> float:
        arguments = setting.arguments(name)
        with setting.process(name) as worker:
            begun = worker.start(CONTESTANTS[name].full_module, **arguments)
            versions.update(versions_of({name: worker}))
        imports_ms[name].append(begun["import_ms"])
        return float(begun["import_ms"] + begun["open_ms"])

    rounds = max(FEWEST, setting.rounds)
    found = take_turns({ours: lambda: open_once(ours), peer: lambda: open_once(peer)}, rounds)
    detail = detail_ms(spread(found[ours]), spread(found[peer]))
    imports = detail_ms(spread(imports_ms[ours]), spread(imports_ms[peer]))
    return Measured.of(
        times_faster(found[ours], found[peer]), f"{detail}, of which imports {imports}", rounds, versions
    )


def build_peak(setting: Setting, shape: str) -> Measured:
    """Resident peak of a build over the bytes of the source weights."""
    return Measured.told(build_peak_ratio(random_checkpoint(shape, setting.folder), setting.folder, "int4"))
