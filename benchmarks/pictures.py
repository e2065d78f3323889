"""From a file to the first token, by stage, with the resident peak of the process and what opening it took."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.measure import Spread, spread
from benchmarks.peers.table import CONTESTANTS
from benchmarks.picture import write_picture
from benchmarks.setting import Setting
from benchmarks.speed import Tell

SIZE_PX = (640, 480)
STAGES = ("preprocess", "encode", "project", "prefill")
WHO = ("ours int4", "ours fp32", "transformers", "transformers bf16")


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A fresh process each round, so that its peak is that of one answer."""

    contestant: str
    precision: str
    tokens: int
    stages_ms: dict[str, Spread]  # and first_token
    peak_mb: Spread
    import_ms: Spread
    open_ms: Spread


def answers(setting: Setting, rounds: int, tell: Tell) -> list[Answer]:
    """All of WHO in turns."""
    image = str(write_picture(setting.folder / "picture.png", *SIZE_PX))
    with setting.worker(WHO[0]) as worker:
        ids = worker.ask("prompt_ids", image=image)
    found: dict[str, list[dict[str, float]]] = {name: [] for name in WHO}
    for number in range(rounds):
        tell(f"picture to first token, round {number + 1} of {rounds}")
        for name in WHO:
            found[name].append(_answer(setting, name, image, ids))
    return [_answer_of(name, len(ids), runs) for name, runs in found.items()]


def _answer(setting: Setting, name: str, image: str, ids: list[int]) -> dict[str, float]:
    arguments = setting.arguments(name)
    with setting.process(name) as worker:
        begun = worker.start(CONTESTANTS[name].full_module, **arguments)
        spent = worker.ask("answer", image=image, ids=ids)
        return {**spent, "peak_mb": worker.peak_mb(), "import_ms": begun["import_ms"], "open_ms": begun["open_ms"]}


def _answer_of(name: str, tokens: int, runs: list[dict[str, float]]) -> Answer:
    columns = {key: spread([run[key] for run in runs]) for key in runs[0]}
    return Answer(
        contestant=name,
        precision=CONTESTANTS[name].precision,
        tokens=tokens,
        stages_ms={stage: columns[stage] for stage in (*STAGES, "first_token")},
        peak_mb=columns["peak_mb"],
        import_ms=columns["import_ms"],
        open_ms=columns["open_ms"],
    )
