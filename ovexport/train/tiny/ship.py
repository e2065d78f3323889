"""The trained ov-tiny as it is shipped: fp16 weights, and the accuracies that a rerun should find again.

heldout.json holds what `ovexport eval` measured on the shipped weights, per family; tests and README read it.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch

from ovexport.checkpoint import load_model, open_checkpoint, save_checkpoint
from ovexport.evaluate.answerer import How
from ovexport.evaluate.drawn import drawn_suite
from ovexport.evaluate.evaluate import evaluate
from ovexport.progress import Bars
from ovexport.train.drawn.kinds import KINDS

HELD_OUT = "heldout.json"


def ship(trained: Path, folder: Path, *, per_family: int, seed: int = 0) -> None:
    """Write `trained` as fp16 into `folder`, and measure what was written."""
    checkpoint = open_checkpoint(trained)
    save_checkpoint(
        load_model(checkpoint, torch.float32), folder, dtype=torch.float16,
        tokenizer_json=checkpoint.tokenizer_json, chat_template=checkpoint.chat_template,
    )  # fmt: skip
    suite = drawn_suite(KINDS, per_family, seed)
    result = evaluate([str(folder)], suite, How(), max_new_tokens=128, bars=Bars())
    rows = (*result.tally.families, result.tally.all)
    families = {row.name: round(row.shares[0].accuracy, 4) for row in rows}
    content = {"per_family": per_family, "seed": seed, "families": families}
    (folder / HELD_OUT).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
