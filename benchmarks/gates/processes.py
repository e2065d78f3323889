"""What a process costs: its resident peak, and the time until a bundle is open."""

from __future__ import annotations

from benchmarks.build_memory import build_peak_ratio
from benchmarks.gates.gate import Measured
from benchmarks.gates.speed import detail_ms
from benchmarks.measure import spread, take_turns, times_faster
from benchmarks.peers.table import CONTESTANTS
from benchmarks.picture import write_picture
from benchmarks.setting import Setting
from benchmarks.shapes import random_checkpoint


def answer_peak(setting: Setting, ours: str, peer: str) -> Measured:
    """Share of the resident peak of a fresh process that answers about a picture, tower included."""
    image = str(write_picture(setting.folder / "picture.png", 640, 480))
    peaks_mb: list[float] = []
    ids: list[int] = []
    for name in (ours, peer):
        with setting.worker(name) as worker:
            ids = ids or worker.ask("prompt_ids", image=image)
            worker.ask("answer", image=image, ids=ids)
            peaks_mb.append(worker.peak_mb())
    return Measured(value=peaks_mb[0] / peaks_mb[1], detail=f"{peaks_mb[0]:,.0f} MB against {peaks_mb[1]:,.0f} MB")


def opening(setting: Setting, ours: str, peer: str) -> Measured:
    """Importing the libraries and opening, which is what a user waits for; files are in the page cache, as at a second
    time. What importing takes of it is told."""
    imports_ms: dict[str, list[float]] = {ours: [], peer: []}

    def open_once(name: str) -> float:
        arguments = setting.arguments(name)
        with setting.process(name) as worker:
            begun = worker.start(CONTESTANTS[name].full_module, **arguments)
        imports_ms[name].append(begun["import_ms"])
        return float(begun["import_ms"] + begun["open_ms"])

    found = take_turns({ours: lambda: open_once(ours), peer: lambda: open_once(peer)}, setting.rounds)
    detail = detail_ms(spread(found[ours]), spread(found[peer]))
    imports = detail_ms(spread(imports_ms[ours]), spread(imports_ms[peer]))
    return Measured.of(times_faster(found[ours], found[peer]), f"{detail}, of which imports {imports}")


def build_peak(setting: Setting, shape: str) -> Measured:
    """Resident peak of a build over the bytes of the source weights."""
    return Measured.told(build_peak_ratio(random_checkpoint(shape, setting.folder), setting.folder, "int4"))
