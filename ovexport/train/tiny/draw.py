"""Draws everything that ov-tiny is trained on into one folder: record files, pictures, clips, and a mixture per stage.

The sets and their sizes are the table below; `scale` makes them all smaller or larger. Nothing held out is among them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ovexport.progress import Bars
from ovexport.train.drawn.kinds import FIRST_STEPS, KINDS
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


def _captions(kind: str, count: int, aligned: str = "") -> DrawnSet:
    used = (("stage1", aligned), ("stage1.5", "all")) if aligned else (("stage1.5", "all"),)
    return DrawnSet(kind=kind, form="caption", count=count, used=used)


def _single(kind: str, count: int, replayed: str, taken: str = "all") -> DrawnSet:
    return DrawnSet(kind=kind, form="exchanges", count=count, used=(("stage2-si", taken), ("stage2-ov", replayed)))


def _new(kind: str, count: int) -> DrawnSet:
    return DrawnSet(kind=kind, form="exchanges", count=count, used=(("stage2-ov", "all"),))


# Text goes along in every later stage: captions alone made the language model forget in stage 1.5 how to answer.
_TOLD_IN = (
    ("language", "random:60%"), ("stage1.5", "random:10%"), ("stage2-si", "random:6%"), ("stage2-ov", "random:3%"),
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
    _captions("shapes", 6000, "all"), _captions("sign", 2500, "first:1200"), _captions("small-text", 4000),
    _captions("bars", 2000, "first:800"), _captions("table", 2500), _captions("sum-picture", 1200, "first:400"),
    DrawnSet(kind="few-shapes", form="exchanges", count=10000, used=(("stage1.5", "all"),)),
    _single("shapes", 24000, "random:35%", "random:80%"), _single("sign", 3000, "random:50%"),
    _single("small-text", 8000, "random:40%"), _single("bars", 4000, "random:50%"),
    _single("table", 5000, "random:50%"), _single("sum-picture", 4000, "random:50%"),
    DrawnSet(kind="letters", form="exchanges", count=3000, used=(("stage2-si", "all"), ("stage2-ov", "random:20%"))),
    DrawnSet(kind="sides", form="exchanges", count=4000, used=(("stage2-si", "all"), ("stage2-ov", "random:20%"))),
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
            kind = (KINDS | FIRST_STEPS)[drawn.kind]
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
