"""From a file to the first token, by stage, with the resident peak of the process and what opening it took."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.agreement import check
from benchmarks.floors import Need, Shape, encode_ops, prefill_ops, project_ops
from benchmarks.measure import Spread, spread
from benchmarks.peers.table import CONTESTANTS
from benchmarks.picture import write_picture
from benchmarks.ran import Ran, ran
from benchmarks.setting import Setting
from benchmarks.speed import Tell
from benchmarks.worker import Worker

SIZE_PX = (640, 480)
STAGES = ("preprocess", "encode", "project", "prefill")
WHO = {
    "cpu": ("ours int4", "ours fp32", "transformers", "transformers bf16"),
    "cuda": ("ours fp16", "transformers fp16", "transformers eager fp16"),
}


@dataclass(frozen=True, kw_only=True)
class Answer(Ran):
    """A fresh process each round, so that its peak is that of one answer; files are in the page cache."""

    tokens: int
    tiles: int
    rounds: int
    stages_ms: dict[str, Spread]  # and first_token
    needs: dict[str, Need]  # of those stages that have a floor
    peak_mb: Spread
    import_ms: Spread
    open_ms: Spread


def answers(setting: Setting, rounds: int, shape: Shape, tell: Tell, who: Sequence[str] = ()) -> list[Answer]:
    """All in turns. Raises Disagrees."""
    who = who or WHO[setting.device]
    tell("picture to first token: comparing outputs")
    check(setting, who)
    image = str(write_picture(setting.folder / "picture.png", *SIZE_PX))
    with setting.worker(who[0]) as worker:
        ids = worker.ask("prompt_ids", image=image)
        tiles = len(worker.ask("tiles", image=image))
    needs = _needs(shape, tiles, len(ids))
    found: dict[str, list[dict[str, float]]] = {name: [] for name in who}
    told: dict[str, dict[str, Any]] = {}
    for number in range(rounds):
        tell(f"picture to first token, round {number + 1} of {rounds}")
        for name in who:
            arguments = setting.arguments(name)
            with setting.process(name) as worker:
                found[name].append(_answer(worker, name, arguments, image, ids))
                told[name] = ran(setting, name, worker)
    return [_answer_of(told[name], len(ids), tiles, needs, runs) for name, runs in found.items()]


def _answer(worker: Worker, name: str, arguments: dict[str, Any], image: str, ids: list[int]) -> dict[str, float]:
    begun = worker.start(CONTESTANTS[name].full_module, **arguments)
    spent = worker.ask("answer", image=image, ids=ids)
    return {**spent, "peak_mb": worker.peak_mb(), "import_ms": begun["import_ms"], "open_ms": begun["open_ms"]}


def _needs(shape: Shape, tiles: int, tokens: int) -> dict[str, Need]:
    return {
        "encode": Need(ops=encode_ops(shape.tower, tiles)),
        "project": Need(ops=project_ops(shape.tower, shape.language, tiles)),
        "prefill": Need(ops=prefill_ops(shape.language, tokens)),
    }


def _answer_of(
    told: dict[str, Any], tokens: int, tiles: int, needs: dict[str, Need], runs: list[dict[str, float]]
) -> Answer:
    columns = {key: spread([run[key] for run in runs]) for key in runs[0]}
    return Answer(
        **told,
        tokens=tokens,
        tiles=tiles,
        rounds=len(runs),
        stages_ms={stage: columns[stage] for stage in (*STAGES, "first_token")},
        needs=needs,
        peak_mb=columns["peak_mb"],
        import_ms=columns["import_ms"],
        open_ms=columns["open_ms"],
    )
