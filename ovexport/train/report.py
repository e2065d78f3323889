"""Exact match of a PyTorch model on the held-out questions, per family, as it is or with int4 weights.

Sits on heldout.py and samples.py; the exported graphs are measured elsewhere.
"""

from __future__ import annotations

from collections import Counter

import torch

from ovexport.model import OneVision
from ovexport.train.bpe import SYSTEM_PROMPT
from ovexport.train.fakequant import int4_weights, rounded
from ovexport.train.heldout import HeldOutSample, heldout_samples, is_right
from ovexport.train.samples import Chat
from ovrun.tiling.plan import plan_image
from ovrun.tiling.tiles import tile_image

MAX_NEW_TOKENS = 80


def answer(model: OneVision, chat: Chat, sample: HeldOutSample, system: str = SYSTEM_PROMPT) -> str:
    """Greedy answer to the sample's question."""
    geometry = model.config.geometry
    plan = plan_image(sample.image.height, sample.image.width, geometry)
    ids_S = torch.tensor(chat.prompt(sample.question, plan.num_tokens, system))
    pixels_NCHW = torch.from_numpy(tile_image(sample.image, geometry))
    new_ids = model.generate(ids_S, pixels_NCHW, [plan], max_new_tokens=MAX_NEW_TOKENS)
    return chat.tokenizer.decode(new_ids, skip_special_tokens=True)


def held_out_accuracy(
    model: OneVision, chat: Chat, count: int, *, int4: bool = False, seed: int = 0
) -> dict[str, float]:
    """Share of right answers per family, and of all under "all"."""
    asked: Counter[str] = Counter()
    right: Counter[str] = Counter()
    with rounded(int4_weights(model.language_model) if int4 else []):
        for sample in heldout_samples(count, seed):
            hit = is_right(answer(model, chat, sample), sample.answer)
            for family in (sample.family, "all"):
                asked[family] += 1
                right[family] += hit
    return {family: right[family] / asked[family] for family in asked}


def table(columns: dict[str, dict[str, float]]) -> str:
    """Accuracies in per cent: a line per family, a column per measurement."""
    families = list(next(iter(columns.values())))
    lines = [f"{'held-out':<10}" + "".join(f"{name:>8}" for name in columns)]
    lines += [f"{f:<10}" + "".join(f"{100 * column[f]:>7.1f}%" for column in columns.values()) for f in families]
    return "\n".join(lines)
