"""Trains ov-tiny, the embedded default model, from nothing on scenes that are drawn as they are needed.

    python -m ovexport.train.tiny --out DIR

Two phases: first tower and projector learn to see (patches.py), then everything learns to answer. The data of a step
depends only on the seed, the step and the share of the budget that is spent; a run goes on where it stopped when DIR
holds its `run.pt`. The training stages of the paper are not here.
"""

from __future__ import annotations

import argparse
import math
import random
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import nn

from ovengines.bundle.manifest import Geometry
from ovexport.checkpoint import load_model, open_checkpoint, save_checkpoint
from ovexport.checkpoint.chat_template import builtin_template
from ovexport.model import KVCache, LanguageConfig, OneVision, OneVisionConfig, VisionConfig
from ovexport.train import bpe
from ovexport.train.fakequant import int4_weights, rounded
from ovexport.train.patches import PatchHeads, patch_batch, patch_loss
from ovexport.train.report import held_out_accuracy, table
from ovexport.train.samples import Batch, Chat, make_batch
from ovexport.train.scenes import MAX_OBJECTS, SIZES, random_size

TILE_PX = 104  # 7 patches of 14 and 6 px unseen, in the proportion of the real 384
_COUNTS = {"1x1": 12, "1x2": 9, "2x1": 9, "2x2": 6, "2x3": 4, "3x2": 4}  # conversations per step: alike in cost
_LOOK_COUNT = 24
# (until this share of the second phase, shapes in a scene, may scenes be larger than one tile)
_CURRICULUM = ((0.03, 1, False), (0.06, 2, False), (0.1, 3, True), (1.0, MAX_OBJECTS, True))


@dataclass(frozen=True, kw_only=True)
class Recipe:
    seed: int = 0
    steps: int = 6000
    minutes: float | None = None  # the budget in place of steps, if given
    look_share: float = 0.17  # the first part of the run: patches are named
    look_lr: float = 5e-3
    talk_lr: float = 4e-3
    tower_factor: float = 0.2  # of the rate while talking, as in the paper
    adam_factor: float = 0.5  # what Muon does not train moves at this share of its rate
    weight_decay: float = 0.05
    warmup_share: float = 0.02
    rounded_share: float = 0.1  # the last part of the run, with int4 weights
    turns: int = 6
    save_every_s: float = 30.0
    show_every_s: float = 10.0


@dataclass
class Run:
    """All that changes during a run."""

    model: OneVision
    heads: PatchHeads
    optimizers: tuple[torch.optim.Optimizer, ...]
    step: int = 0
    spent_s: float = 0.0


def tiny_config(tokenizer_ids: dict[str, int]) -> OneVisionConfig:
    """ov-tiny: one million parameters; every K but the patch convolution's is a multiple of 32."""
    pinpoints = tuple((TILE_PX * rows, TILE_PX * columns) for rows in range(1, 7) for columns in range(1, 7))
    return OneVisionConfig(
        vision=VisionConfig(
            hidden=96, intermediate=256, num_layers=3, num_heads=3, image_size_px=TILE_PX, patch_size_px=14
        ),
        language=LanguageConfig(
            vocab_size=bpe.PADDED_VOCABULARY,
            hidden=128,
            intermediate=320,
            num_layers=4,
            num_heads=4,
            num_kv_heads=2,
            head_dim=32,
            max_positions=4096,
            tie_word_embeddings=True,
            rope_theta=1e4,
        ),
        geometry=Geometry(
            image_size_px=TILE_PX, patch_size_px=14, grid_pinpoints=pinpoints, max_tiles=9, unpad_rounding="hf"
        ),
        image_token_id=tokenizer_ids[bpe.IMAGE],
        video_token_id=tokenizer_ids[bpe.VIDEO],
        pad_token_id=tokenizer_ids[bpe.END_OF_TEXT],
        eos_token_ids=(tokenizer_ids[bpe.TURN_END],),
    )


def new_run(config: OneVisionConfig, recipe: Recipe) -> Run:
    torch.manual_seed(recipe.seed)
    model = OneVision(config)
    _scale_to_width(model)
    heads = PatchHeads(config.language.hidden)
    return Run(model=model, heads=heads, optimizers=_optimizers(model, heads, recipe))


def _optimizers(model: OneVision, heads: PatchHeads, recipe: Recipe) -> tuple[torch.optim.Optimizer, ...]:
    """Muon for the matrices of the layers, in half of AdamW's steps; AdamW for tables, vectors and heads."""
    groups: dict[str, list[dict[str, Any]]] = {"muon": [], "decayed": [], "plain": []}
    for name, parameter in (*model.named_parameters(), *heads.named_parameters()):
        in_layer = parameter.ndim == 2 and "embed" not in name and not name.startswith("heads")
        kind = "muon" if in_layer else "decayed" if parameter.ndim > 1 else "plain"
        groups[kind].append({"params": [parameter], "in_tower": name.startswith("vision_tower")})
    for group in groups["plain"]:
        group["weight_decay"] = 0.0
    muon = torch.optim.Muon(groups["muon"], weight_decay=recipe.weight_decay, adjust_lr_fn="match_rms_adamw")
    adam = torch.optim.AdamW(groups["decayed"] + groups["plain"], betas=(0.9, 0.98), weight_decay=recipe.weight_decay)
    return muon, adam


def _scale_to_width(model: OneVision) -> None:
    """normal(0, 0.02) suits widths of a thousand; a width of a hundred learns faster from 1/sqrt(K)."""
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.7 * module.in_features**-0.5)


def learning_rate(recipe: Recipe, share: float, *, in_tower: bool) -> float:
    """Each phase warms up linearly and falls as a cosine to a hundredth; `share` of the budget is spent."""
    if share < recipe.look_share:
        return recipe.look_lr * _bow(recipe, share / recipe.look_share)
    peak = recipe.talk_lr * (recipe.tower_factor if in_tower else 1.0)
    return peak * _bow(recipe, (share - recipe.look_share) / (1 - recipe.look_share))


def _bow(recipe: Recipe, share: float) -> float:
    rising = (share + 1e-3) / (recipe.warmup_share + 1e-3)
    falling = 0.01 + 0.99 * (1 + math.cos(math.pi * min(1.0, share))) / 2
    return min(rising, falling)


def share_spent(recipe: Recipe, run: Run) -> float:
    if recipe.minutes is None:
        return run.step / recipe.steps
    return run.spent_s / (60 * recipe.minutes)


def look_step(run: Run, recipe: Recipe) -> torch.Tensor:
    """Loss of naming patches, with its gradients; sizes alike in number, since every view costs the same."""
    name = f"look {recipe.seed} {run.step}"
    size = random.Random(name).choice(list(SIZES))
    pixels_NCHW, labels_NP3 = patch_batch(run.model.config.geometry, name, count=_LOOK_COUNT, size=size)
    loss = patch_loss(run.model, run.heads, pixels_NCHW, labels_NP3)
    loss.backward()
    return loss


def talk_step(run: Run, chat: Chat, recipe: Recipe, share: float) -> torch.Tensor:
    """Loss of answering, with its gradients; `share` of the second phase is spent."""
    name = f"talk {recipe.seed} {run.step}"
    _, max_things, large = next(row for row in _CURRICULUM if share <= row[0])
    size = random_size(random.Random(name)) if large else "1x1"
    batch = make_batch(
        chat, run.model.config.geometry, name,
        count=_COUNTS[size], size=size, max_things=max_things, turns=recipe.turns,
    )  # fmt: skip
    with rounded(int4_weights(run.model.language_model) if share > 1 - recipe.rounded_share else []):
        loss = answer_loss(run.model, batch)
        loss.backward()
    return loss


def answer_loss(model: OneVision, batch: Batch) -> torch.Tensor:
    """Mean loss of the batch's groups of questions; what comes before a question is computed once per image."""
    image_embeds_TD = model.image_embeds(batch.pixels_NCHW, [batch.plan])
    shared: KVCache = []
    model.language_model(model.merge(batch.prompts_BS, image_embeds_TD), cache=shared)
    losses = []
    for asked in batch.asked:
        cache: KVCache = [(k_BGCE[asked.prompt_Q], v_BGCE[asked.prompt_Q]) for k_BGCE, v_BGCE in shared]
        hidden_QSD = model.language_model(model.language_model.embed(asked.ids_QS), cache=cache)
        losses.append(model.loss(hidden_QSD, asked.labels_QS))
    return torch.stack(losses).mean()


def train_step(run: Run, chat: Chat, recipe: Recipe, share: float) -> float:
    """One step of the phase that `share` of the budget is in; returns the loss."""
    for optimizer in run.optimizers:
        optimizer.zero_grad(set_to_none=True)
        for group in optimizer.param_groups:
            rate = learning_rate(recipe, share, in_tower=group["in_tower"])
            group["lr"] = rate if isinstance(optimizer, torch.optim.Muon) else recipe.adam_factor * rate
    if share < recipe.look_share:
        loss = look_step(run, recipe)
    else:
        loss = talk_step(run, chat, recipe, min(1.0, (share - recipe.look_share) / (1 - recipe.look_share)))
    nn.utils.clip_grad_norm_(run.model.parameters(), 1.0)
    for optimizer in run.optimizers:
        optimizer.step()
    run.step += 1
    return float(loss.detach())


def save_run(run: Run, path: Path) -> None:
    """Written beside its place and renamed: a run that is killed leaves the last whole state."""
    state = {
        "model": run.model.state_dict(),
        "heads": run.heads.state_dict(),
        "optimizers": [optimizer.state_dict() for optimizer in run.optimizers],
        "step": run.step,
        "spent_s": run.spent_s,
    }
    unfinished = path.with_suffix(".part")
    torch.save(state, unfinished)
    unfinished.replace(path)


def load_run(run: Run, path: Path) -> None:
    state = torch.load(path, weights_only=True)
    run.model.load_state_dict(state["model"])
    run.heads.load_state_dict(state["heads"])
    for optimizer, saved in zip(run.optimizers, state["optimizers"], strict=True):
        optimizer.load_state_dict(saved)
    run.step, run.spent_s = state["step"], state["spent_s"]


def train(run: Run, chat: Chat, recipe: Recipe, state_path: Path) -> None:
    """Steps until the budget is spent, with a progress line and a saved state now and then."""
    losses: list[float] = []
    saved_at_s = shown_at_s = run.spent_s
    while (share := share_spent(recipe, run)) < 1:
        started = time.perf_counter()
        losses.append(train_step(run, chat, recipe, share))
        run.spent_s += time.perf_counter() - started
        if run.spent_s - shown_at_s > recipe.show_every_s:
            print(_progress(run, share, losses, run.spent_s - shown_at_s), file=sys.stderr, flush=True)
            shown_at_s, losses = run.spent_s, []
        if run.spent_s - saved_at_s > recipe.save_every_s:
            save_run(run, state_path)
            saved_at_s = run.spent_s
    save_run(run, state_path)


def _progress(run: Run, share: float, losses: list[float], seconds: float) -> str:
    left_min = run.spent_s * (1 - share) / max(share, 1e-9) / 60
    mean = sum(losses) / len(losses)
    speed = len(losses) / seconds
    return f"step {run.step:6d}  {100 * share:5.1f} %  loss {mean:.4f}  {speed:5.1f} steps/s  {left_min:.1f} min left"


def write_checkpoint(run: Run, tokenizer: Tokenizer, folder: Path) -> None:
    """The model in fp16, in the layout of transformers."""
    save_checkpoint(
        run.model, folder, dtype=torch.float16,
        tokenizer_json=tokenizer.to_str(pretty=False).encode(),
        chat_template=builtin_template(has_video_token=True),
    )  # fmt: skip


def _tokenizer(path: Path) -> Tokenizer:
    """The one that the run began with, else a new one."""
    if not path.exists():
        bpe.train_tokenizer().save(str(path))
    return Tokenizer.from_file(str(path))


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m ovexport.train.tiny", description="Train ov-tiny from nothing.")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run: its state, and the checkpoint")
    budget = parser.add_mutually_exclusive_group()
    budget.add_argument("--steps", type=int, default=Recipe.steps, help=f"steps to train (default {Recipe.steps})")
    budget.add_argument("--minutes", type=float, help="time to train in place of steps, measuring left out")
    parser.add_argument("--seed", type=int, default=Recipe.seed)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--held-out", type=int, default=600, help="questions to measure with at the end")
    parser.add_argument("--report", action="store_true", help="only write and measure the run as it is")
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    recipe = Recipe(seed=args.seed, minutes=args.minutes, steps=args.steps)
    args.out.mkdir(parents=True, exist_ok=True)
    tokenizer = _tokenizer(args.out / "tokenizer.json")
    chat = Chat(tokenizer)
    run = new_run(tiny_config(tokenizer.get_vocab()), recipe)
    state_path = args.out / "run.pt"
    if state_path.exists():
        load_run(run, state_path)
        print(f"going on at step {run.step}, after {run.spent_s / 60:.1f} min", file=sys.stderr)
    if not args.report:
        train(run, chat, recipe, state_path)
    write_checkpoint(run, tokenizer, args.out / "ov-tiny")
    model = load_model(open_checkpoint(args.out / "ov-tiny"), torch.float32)
    rounding = {"fp16": False, "int4": True}
    print(table({name: held_out_accuracy(model, chat, args.held_out, int4=int4) for name, int4 in rounding.items()}))


if __name__ == "__main__":
    main()
