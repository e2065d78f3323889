"""Draws everything that ov-tiny is trained on into one folder: record files, pictures, clips, and a mixture per stage.

The sets and their sizes are the table below; `scale` makes them all smaller or larger. Nothing held out is among them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ovexport.progress import Bars
from ovexport.train.drawn.kinds import KINDS, PRACTICE
from ovexport.train.drawn.writer import write_drawings

MIXTURES = ("language", "stage1", "stage1.5", "stage2-si", "stage2-ov")


@dataclass(frozen=True, kw_only=True)
class DrawnSet:
    """`count` drawings of a kind in one form; `used`: how each stage samples the file."""

    kind: str
    form: str  # of drawn/writer.py
    count: int
    used: tuple[tuple[str, str], ...]  # (stage, sampling strategy)

    @property
    def name(self) -> str:
        return f"{self.kind}-{self.form}"


def _told(kind: str, count: int) -> DrawnSet:
    return DrawnSet(kind=kind, form="told", count=count, used=_TOLD_IN)


def _captions(kind: str, count: int, known: int, aligned: int = 0) -> DrawnSet:
    """The first `aligned` of them for stage 1, the first `known` for stage 1.5."""
    used = (("stage1", f"first:{aligned}"),) if aligned else ()
    return DrawnSet(kind=kind, form="caption", count=count, used=(*used, ("stage1.5", f"first:{known}")))


def _single(kind: str, count: int, replayed: str, taken: str = "all") -> DrawnSet:
    return DrawnSet(kind=kind, form="exchanges", count=count, used=(("stage2-si", taken), ("stage2-ov", replayed)))


def _practice(kind: str, count: int, *stages: str) -> DrawnSet:
    """A third of it is seen by each of several stages, all of it by one; a little goes along in the last."""
    share = "all" if len(stages) == 1 else "random:35%"
    used = (*((stage, share) for stage in stages), ("stage2-ov", "random:15%"))
    return DrawnSet(kind=kind, form="exchanges", count=count, used=used)


def _new(kind: str, count: int) -> DrawnSet:
    return DrawnSet(kind=kind, form="exchanges", count=count, used=(("stage2-ov", "all"),))


# Text goes along in every later stage: captions alone made the language model forget in stage 1.5 how to answer.
_TOLD_IN = (
    ("language", "random:60%"), ("stage1.5", "random:8%"), ("stage2-si", "random:4%"), ("stage2-ov", "random:3%"),
)  # fmt: skip
_WORDS = DrawnSet(
    kind="words", form="exchanges", count=12000,
    used=(
        ("language", "random:60%"), ("stage1.5", "random:15%"),
        ("stage2-si", "random:20%"), ("stage2-ov", "random:10%"),
    ),
)  # fmt: skip

SETS: tuple[DrawnSet, ...] = (
    _told("few-shapes", 5000), _told("shapes", 16000), _told("sign", 800), _told("small-text", 3000),
    _told("bars", 4000), _told("table", 3000), _told("sum-picture", 2000),
    _WORDS,
    _captions("shapes", 6000, 3000, 6000), _captions("sign", 2500, 1500, 1200), _captions("small-text", 4000, 2500),
    _captions("bars", 2000, 1000, 800), _captions("table", 2500, 1500), _captions("sum-picture", 1200, 1000, 400),
    _practice("few-shapes", 10000, "stage1.5"), _practice("few-sides", 3500, "stage1.5"),
    _practice("few-bars", 2000, "stage1.5"), _practice("few-rows", 3000, "stage1.5"),
    _practice("few-lines", 3000, "stage1.5"), _practice("letters", 3000, "stage1.5", "stage2-si"),
    _practice("many-shapes", 9000, "stage2-si"), _practice("sides", 5000, "stage2-si"),
    _single("shapes", 24000, "random:35%", "random:50%"), _single("sign", 3000, "random:50%"),
    _single("small-text", 8000, "random:40%"), _single("bars", 4000, "random:50%"),
    _single("table", 5000, "random:50%"), _single("sum-picture", 4000, "random:50%"),
    _new("album", 7000), _new("pair", 8000), _new("motion", 3500), _new("arrival", 5500), _new("repaint", 4500),
)  # fmt: skip


def draw_stage_data(out: Path, scale: float = 1.0, seed: int = 0, bars: Bars | None = None, workers: int = 1) -> None:
    """Draw all sets (those that are complete are left alone) and write OUT/STAGE.yaml for every stage.

    Raises OVError for a folder that can't be written.
    """
    bars = bars or Bars()
    out.mkdir(parents=True, exist_ok=True)
    for stage in MIXTURES:
        (out / f"{stage}.yaml").write_text("\n".join(_mixture(stage, scale)) + "\n", encoding="utf-8")
    with bars.steps("drawing") as progress:
        for number, drawn in enumerate(SETS):
            progress(drawn.name, number, len(SETS))
            count = max(1, round(drawn.count * scale))
            kind = (KINDS | PRACTICE)[drawn.kind]
            write_drawings(
                out, drawn.name, kind, count, seed, held_out=False, form=drawn.form, workers=workers
            )  # fmt: skip


def _mixture(stage: str, scale: float) -> Iterator[str]:
    yield f"# {stage} of ov-tiny: drawn by ovexport.train.tiny.draw, scale {scale:g}."
    yield "datasets:"
    for drawn in SETS:
        for used_in, strategy in drawn.used:
            if used_in == stage:
                yield f"  - json_path: {drawn.name}.jsonl"
                yield f"    sampling_strategy: {_scaled(strategy, scale)}"


def _scaled(strategy: str, scale: float) -> str:
    """Absolute numbers shrink and grow with the sets; shares stay."""
    name, _, amount = strategy.partition(":")
    if not amount or amount.endswith("%"):
        return strategy
    return f"{name}:{max(1, round(int(amount) * scale))}"
