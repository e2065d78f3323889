"""What both sides are asked: pixels of a drawn picture, a token plan, a prompt, and which logits to keep.

A pure function of the model's sizes and a seed. Knows no weights and no engine. Small enough to be stored: of a large
model's plan it keeps evenly spread tokens, which still name source rows of every tile.

Axes: N tiles, C channels, H W pixels, T visual tokens, S positions of the prompt and the steps after it, K positions
whose logits are kept.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ovengines.bundle.manifest import Geometry
from ovexport.model.config import OneVisionConfig
from ovexport.verify.picture import draw_picture
from ovrun.tiling.plan import TokenPlan, plan_image, plan_video, retarget
from ovrun.tiling.tiles import tile_image

VISUAL_BYTES = 2 << 20  # of visual tokens in float32, so of as many features too
LOGITS_BYTES = 4 << 20
TEXT_BEFORE, TEXT_AFTER = 13, 22
GREEDY_TOKENS = 16


@dataclass(frozen=True, kw_only=True, eq=False)
class Probe:
    """Inputs of all stages. Positions past `prompt_tokens` are fed one at a time, as in decoding."""

    pixels_NCHW: NDArray[np.float32]
    plan: TokenPlan
    input_ids_S: NDArray[np.int64]
    embed_index_S: NDArray[np.int64]
    prompt_tokens: int
    logits_positions_K: NDArray[np.int64]


def make_probe(config: OneVisionConfig, seed: int) -> Probe:
    """The probe of a model; deterministic in `seed`."""
    rng = np.random.default_rng([seed, 1])
    side_px = config.geometry.image_size_px
    height_px, width_px = side_px - 7, int(side_px * 1.37)  # two tiles side by side where the pinpoints allow it
    pixels_NCHW = tile_image(draw_picture(height_px, width_px, seed), config.geometry)
    plan = _sampled_plan(height_px, width_px, config)
    steps = min(8, _kept_rows(config) // 2)
    ids_S, embed_index_S = _prompt(config, plan.num_tokens, steps, rng)
    prompt_tokens = len(ids_S) - steps
    return Probe(
        pixels_NCHW=pixels_NCHW,
        plan=plan,
        input_ids_S=ids_S,
        embed_index_S=embed_index_S,
        prompt_tokens=prompt_tokens,
        logits_positions_K=_kept_positions(prompt_tokens, steps, _kept_rows(config)),
    )


def chunk_bounds(prompt_tokens: int) -> list[int]:
    """Where the prompt is cut for chunked prefill: one cut among the visual tokens, one in the text after them."""
    return [0, prompt_tokens * 2 // 5, prompt_tokens - TEXT_AFTER // 2, prompt_tokens]


def _sampled_plan(height_px: int, width_px: int, config: OneVisionConfig) -> TokenPlan:
    """Tokens of the picture (one source row each) and, for weights between 0 and 1, of its base view as a video."""
    geometry: Geometry = config.geometry
    image = plan_image(height_px, width_px, geometry)
    video = retarget(plan_video(1, geometry), [0], image.num_tiles)
    most = min(512, VISUAL_BYTES // (4 * config.language.hidden), config.language.max_positions // 2)
    picked = [_spread(image, most * 4 // 5), _spread(video, most // 5)]
    return TokenPlan(
        indices_T4=np.concatenate([plan.indices_T4[rows] for plan, rows in zip((image, video), picked, strict=True)]),
        weights_T4=np.concatenate([plan.weights_T4[rows] for plan, rows in zip((image, video), picked, strict=True)]),
        num_tiles=image.num_tiles,
        patches_per_tile=image.patches_per_tile,
        grid=image.grid,
        map_size=image.map_size,
    )


def _spread(plan: TokenPlan, count: int) -> NDArray[np.int64]:
    """At most `count` tokens, evenly spread, the last one (a newline) among them."""
    return np.unique(np.linspace(0, plan.num_tokens - 1, min(count, plan.num_tokens)).round().astype(np.int64))


def _prompt(
    config: OneVisionConfig, num_visual: int, steps: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Random text, all visual tokens, random text, and the ids of the steps."""
    marked = {config.image_token_id, config.video_token_id, config.pad_token_id, *config.eos_token_ids}
    words = np.setdiff1d(np.arange(config.language.vocab_size), [i for i in marked if i is not None])
    ids_S = rng.choice(words, TEXT_BEFORE + num_visual + TEXT_AFTER + steps)
    embed_index_S = np.full(len(ids_S), -1, np.int64)
    visual = slice(TEXT_BEFORE, TEXT_BEFORE + num_visual)
    ids_S[visual] = config.pad_token_id
    embed_index_S[visual] = np.arange(num_visual)
    return ids_S.astype(np.int64), embed_index_S


def _kept_rows(config: OneVisionConfig) -> int:
    return int(np.clip(LOGITS_BYTES // (4 * config.language.vocab_size), 6, 48))


def _kept_positions(prompt_tokens: int, steps: int, count: int) -> NDArray[np.int64]:
    """Every step, the prompt's end, both sides of a cut, and others evenly spread until there are `count`."""
    cut = chunk_bounds(prompt_tokens)[1]
    others = np.linspace(0, prompt_tokens - 1, count).round().astype(int).tolist()
    in_prompt = list(dict.fromkeys([prompt_tokens - 1, cut - 1, cut, *others[1:-1]]))[: count - steps]
    return np.array(sorted(in_prompt) + list(range(prompt_tokens, prompt_tokens + steps)), np.int64)
